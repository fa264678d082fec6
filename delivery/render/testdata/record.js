// Rewrites what the recordings in this folder expect, by Node and its npm
// packages: npm i handlebars@4.7.10 @google-cloud/firestore && node record.js
// (Node 20; another one words some errors differently). cases.json came with
// its expectations and stays as it is.
const fs = require('fs');
const Handlebars = require('handlebars');
const { Firestore, Timestamp, GeoPoint } = require('@google-cloud/firestore');

function attempt(f) {
  try {
    return { output: f() };
  } catch (error) {
    return { error: String(error) };
  }
}

function rewrite(name, record) {
  const cases = JSON.parse(fs.readFileSync(name));
  fs.writeFileSync(name, '[\n' + cases.map((c) => JSON.stringify(record(c))).join(',\n') + '\n]\n');
}

function template(c) {
  const handlebars = Handlebars.create();
  handlebars.log = () => {};
  for (const name in c.partials) handlebars.registerPartial(name, c.partials[name]);
  return { ...c, expect: attempt(() => handlebars.compile(c.template, c.options)(c.data)) };
}

const values = {
  ts: new Timestamp(1706933106, 789000000),
  old: new Timestamp(-62135596800, 0),
  geo: new GeoPoint(1.5, -2),
  ref: new Firestore({ projectId: 'p' }).doc('users/u1'),
  bytes: Buffer.from('hé€😀'),
  bad: Buffer.from([0x61, 0xe2, 0x82, 0x62, 0xff, 0xc0, 0x80, 0xf0, 0x9f, 0xed, 0xa0, 0x80, 0x21]),
  empty: Buffer.alloc(0),
  nan: NaN,
  inf: Infinity,
  ninf: -Infinity,
  nz: -0,
  big: 9007199254740992,
  list: [new Timestamp(0, 1), Buffer.from('x'), NaN, [new GeoPoint(0, 0)]],
  m: { 'a.b': new Timestamp(5, 6), n: { deep: Buffer.from('d') } },
};

rewrite('errors.json', template); // errors of the language, one of each shape
rewrite('mixed.json', template); // random templates of every feature
rewrite('values.json', (c) => {
  const result = attempt(() => Handlebars.compile(c.template, { noEscape: c.noEscape })(values));
  return { ...c, expect: result.error || result.output };
});
rewrite('jsonparse.json', (c) => {
  const result = attempt(() => JSON.stringify(JSON.parse(c.json)));
  return result.error ? { json: c.json, error: result.error } : { json: c.json, value: result.output };
});
