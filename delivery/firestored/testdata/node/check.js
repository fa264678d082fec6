// Checks a Firestore server with Google's client for Node. For each check it
// prints a line of JSON: {"check": name} or {"check": name, "error": text}. A
// line {"ask": what} asks whoever reads the lines to do something to the server;
// the answer is a line on standard input.
'use strict';

const assert = require('node:assert/strict');
const readline = require('node:readline');
const {AggregateField, FieldPath, FieldValue, Filter, Firestore, GeoPoint, Timestamp} = require('@google-cloud/firestore');

const ALREADY_EXISTS = 6, NOT_FOUND = 5, FAILED_PRECONDITION = 9, INVALID_ARGUMENT = 3;

const db = new Firestore({projectId: process.env.PROJECT});
const answers = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();
const checks = [];
const print = (line) => process.stdout.write(JSON.stringify(line) + '\n');

function check(name, f) {
  checks.push({name, f});
}

async function ask(what) {
  print({ask: what});
  await answers.next();
}

async function fails(code, promise) {
  await assert.rejects(promise, (err) => {
    assert.equal(err.code, code, err.message);
    return true;
  });
}

const ids = (snapshot) => snapshot.docs.map((d) => d.id).join(' ');

check('documents are made, read, changed and deleted', async (c) => {
  const doc = c.doc('a');
  assert.equal((await doc.get()).exists, false);
  await fails(NOT_FOUND, doc.update({x: 1}));
  const made = await doc.create({x: 1, n: {a: 1, b: 2}, 'a.b': 1});
  await fails(ALREADY_EXISTS, doc.create({}));
  const read = await doc.get();
  assert.ok(read.createTime.isEqual(made.writeTime));
  assert.deepEqual(read.data(), {x: 1, n: {a: 1, b: 2}, 'a.b': 1});
  await doc.update({'n.a': 9, x: FieldValue.delete()});
  await doc.update(new FieldPath('a.b'), 2);
  await doc.set({n: {c: 3}}, {merge: true});
  await doc.set({n: {b: 7}, x: 5}, {mergeFields: ['n.b']});
  assert.deepEqual((await doc.get()).data(), {n: {a: 9, b: 7, c: 3}, 'a.b': 2});
  await fails(FAILED_PRECONDITION, doc.update({x: 1}, {lastUpdateTime: made.writeTime}));
  const latest = await doc.get();
  await doc.update({x: 1}, {lastUpdateTime: latest.updateTime});
  await doc.set({y: 1});
  assert.deepEqual((await doc.get()).data(), {y: 1});
  await doc.delete();
  await fails(NOT_FOUND, doc.delete({exists: true}));
  assert.equal((await doc.get()).exists, false);
  const added = await c.add({x: 1});
  assert.equal(added.id.length, 20);
});

check('every type comes back as it was written', async (c) => {
  const data = {
    null: null, bool: true, int: 42, double: 1.5, nan: NaN, inf: -Infinity, text: 'ä\u0000😀', bytes: Buffer.from([0, 255]),
    time: new Timestamp(1700000000, 123456000), place: new GeoPoint(-12.5, 179), ref: c.doc('x/y/z'), list: [1, null, {a: []}], map: {m: {}},
    vector: FieldValue.vector([1, 2.5]),
  };
  await c.doc('a').set(data);
  const got = (await c.doc('a').get()).data();
  assert.ok(got.ref.isEqual(data.ref) && got.place.isEqual(data.place) && got.time.isEqual(data.time) && got.vector.isEqual(data.vector));
  for (const special of ['ref', 'place', 'time', 'vector']) {
    delete got[special];
    delete data[special];
  }
  assert.deepEqual(got, data);
});

check('a batch goes as a whole', async (c) => {
  await fails(NOT_FOUND, db.batch().set(c.doc('a'), {x: 1}).update(c.doc('none'), {x: 1}).commit());
  assert.equal((await c.get()).size, 0);
  await db.batch().set(c.doc('a'), {x: 1}).set(c.doc('b'), {x: 1}).delete(c.doc('a')).commit();
  assert.equal(ids(await c.get()), 'b');
});

check('field values', async (c) => {
  const doc = c.doc('a');
  await doc.set({n: 1, l: [1, 2], at: FieldValue.serverTimestamp(), deep: {at: FieldValue.serverTimestamp()}});
  await doc.update({n: FieldValue.increment(2.5), l: FieldValue.arrayUnion(2, 3), new: FieldValue.increment(1)});
  await doc.update({l: FieldValue.arrayRemove(1)});
  const {at, deep, ...rest} = (await doc.get()).data();
  assert.ok(at instanceof Timestamp && at.isEqual(deep.at));
  assert.ok(Math.abs(at.toMillis() - Date.now()) < 60000);
  assert.deepEqual(rest, {n: 3.5, l: [2, 3], new: 1});
});

check('transactions that contend lose nothing', async (c) => {
  const doc = c.doc('a');
  await doc.set({n: 0});
  await Promise.all([1, 2, 3].map(() => db.runTransaction(async (tx) => {
    const n = (await tx.get(doc)).data().n;
    tx.update(doc, {n: n + 1});
  }, {maxAttempts: 20})));
  assert.equal((await doc.get()).data().n, 3);
});

check('a transaction is tried again where its query changed', async (c) => {
  let tries = 0;
  await db.runTransaction(async (tx) => {
    const found = await tx.get(c.where('x', '==', 1));
    tries++;
    if (tries === 1) {
      await c.doc('other').set({x: 1});
    }
    tx.set(c.doc('result'), {found: found.size, tries});
  });
  assert.deepEqual((await c.doc('result').get()).data(), {found: 1, tries: 2});
});

check('a transaction that fails writes nothing', async (c) => {
  await assert.rejects(db.runTransaction(async (tx) => {
    tx.set(c.doc('a'), {});
    throw new Error('changed my mind');
  }), /changed my mind/);
  assert.equal((await c.get()).size, 0);
});

check('a transaction for reading', async (c) => {
  await c.doc('a').set({x: 1});
  const got = await db.runTransaction(async (tx) => {
    const one = await tx.get(c.doc('a'));
    await c.doc('a').set({x: 2});
    const many = await tx.getAll(c.doc('a'), c.doc('b'));
    return [one.data().x, many[0].data().x, many[1].exists];
  }, {readOnly: true});
  assert.deepEqual(got, [1, 1, false]);
});

async function pages(c) {
  const batch = db.batch();
  for (const [id, data] of Object.entries({
    a: {n: 1, t: 'x', l: [1, 2]}, b: {n: 2, t: 'x', l: [2]}, c: {n: 2, t: 'y'}, d: {n: 3, t: 'y', l: [{a: 1}]}, e: {t: null},
  })) {
    batch.set(c.doc(id), data);
  }
  await batch.commit();
}

check('queries', async (c) => {
  await pages(c);
  const b = await c.doc('b').get();
  for (const [want, query] of [
    ['a b c d e', c],
    ['b c', c.where('n', '==', 2)],
    ['a d', c.where('n', '!=', 2)],
    ['b c d', c.where('n', '>', 1)],
    ['c d', c.where('t', 'in', ['y', 'z'])],
    ['a b', c.where('t', 'not-in', ['y'])],
    ['a b', c.where('l', 'array-contains', 2)],
    ['a d', c.where('l', 'array-contains-any', [1, {a: 1}])],
    ['e', c.where('t', '==', null)],
    ['b', c.where('n', '==', 2).where('t', '==', 'x')],
    ['a d', c.where(Filter.or(Filter.where('n', '==', 1), Filter.and(Filter.where('t', '==', 'y'), Filter.where('n', '>', 2))))],
    ['d c b a', c.orderBy('n', 'desc')],
    ['b a d c', c.orderBy('t').orderBy('n', 'desc').where('t', '>', '')],
    ['c d', c.orderBy('n').startAfter(b)],
    ['b a', c.orderBy('n', 'desc').startAt(b)],
    ['a b', c.orderBy('n').endAt(b)],
    ['a', c.orderBy('n').endBefore(2)],
    ['c d', c.orderBy('n').limitToLast(2)],
    ['b c', c.orderBy('n').offset(1).limit(2)],
    ['c d', c.where(FieldPath.documentId(), '>=', 'c').where(FieldPath.documentId(), '<', 'e')],
    ['a d', c.where(FieldPath.documentId(), 'in', ['d', 'a', 'zz'])],
  ]) {
    assert.equal(ids(await query.get()), want);
  }
  assert.deepEqual((await c.orderBy('n').select('t').limit(1).get()).docs[0].data(), {t: 'x'});
  await fails(INVALID_ARGUMENT, c.where('n', '!=', 1).where('t', 'not-in', [1]).get());
});

check('a query is streamed', async (c) => {
  await pages(c);
  const seen = [];
  for await (const d of c.orderBy('n', 'desc').stream()) {
    seen.push(d.id);
  }
  assert.equal(seen.join(' '), 'd c b a');
});

check('collections of one name at every depth', async (c) => {
  const name = 'deep' + c.id;
  await Promise.all([c.doc('a').collection(name).doc('1').set({x: 1}), db.collection(name).doc('2').set({x: 2}), c.doc('b').collection('else').doc('3').set({})]);
  assert.equal(ids(await db.collectionGroup(name).orderBy('x').get()), '1 2');
});

check('counts', async (c) => {
  await pages(c);
  assert.equal((await c.count().get()).data().count, 5);
  assert.equal((await c.where('n', '>=', 2).limit(2).count().get()).data().count, 2);
  assert.equal((await c.where('n', '==', 99).aggregate({all: AggregateField.count()}).get()).data().all, 0);
});

check('documents and collections are listed', async (c) => {
  await c.doc('a').set({});
  await c.doc('b').collection('sub').doc('x').set({});
  assert.equal((await c.listDocuments()).map((d) => d.id).join(' '), 'a b');
  assert.equal((await c.doc('b').listCollections()).map((s) => s.id).join(' '), 'sub');
  assert.ok((await db.listCollections()).some((s) => s.id === c.id));
  const [b, a, a2] = await db.getAll(c.doc('b'), c.doc('a'), c.doc('a'));
  assert.deepEqual([b.exists, a.exists, a2.exists], [false, true, true]);
});

check('a bulk writer', async (c) => {
  await c.doc('there').set({});
  const writer = db.bulkWriter();
  const failed = {};
  writer.onWriteError((err) => {
    failed[err.documentRef.id] = err.code;
    return false;
  });
  for (let i = 0; i < 60; i++) {
    writer.create(c.doc('n' + i), {i}).catch(() => {});
  }
  writer.create(c.doc('there'), {}).catch(() => {});
  writer.update(c.doc('none'), {x: 1}).catch(() => {});
  writer.delete(c.doc('gone')).catch(() => {});
  await writer.close();
  assert.deepEqual(failed, {there: ALREADY_EXISTS, none: NOT_FOUND});
  assert.equal((await c.count().get()).data().count, 61);
});

check('everything below a document is deleted', async (c) => {
  await c.doc('a').set({});
  await c.doc('a/s/1').set({});
  await c.doc('a/s/1/t/2').set({});
  await c.doc('b').set({});
  await db.recursiveDelete(c.doc('a'));
  assert.equal(ids(await c.get()), 'b');
  assert.equal(ids(await c.doc('a').collection('s').get()), '');
});

// Follower hands out the snapshots of a query or document one by one.
class Follower {
  constructor(what) {
    this.got = [];
    this.waiting = null;
    this.stop = what.onSnapshot((s) => this.give({s}), (err) => this.give({err}));
  }
  give(x) {
    this.got.push(x);
    this.waiting?.();
  }
  async next() {
    if (this.got.length === 0) {
      await new Promise((resolve) => { this.waiting = resolve; });
    }
    const {s, err} = this.got.shift();
    if (err) {
      throw err;
    }
    return s;
  }
}

const changes = (s) => [`[${ids(s)}]`, ...s.docChanges().map((ch) => ({added: '+', modified: '*', removed: '-'})[ch.type] + ch.doc.id)].join(' ');

async function follow(c, between) {
  await c.doc('b').set({x: 2});
  const f = new Follower(c.where('x', '>', 0).orderBy('x').limit(3));
  try {
    assert.equal(changes(await f.next()), '[b] +b');
    for (const [id, data, want] of [
      ['a', {x: 1}, '[a b] +a'],
      ['c', {x: 3}, '[a b c] +c'],
      ['a', {x: 9}, '[b c a] *a'],
      ['d', {x: 5}, '[b c d] -a +d'],
      ['b', null, '[c d a] -b +a'],
      ['c', {x: -1}, '[d a] -c'],
    ]) {
      await between();
      await (data ? c.doc(id).set(data) : c.doc(id).delete());
      assert.equal(changes(await f.next()), want);
    }
  } finally {
    f.stop();
  }
}

check('a listener follows a query', (c) => follow(c, async () => {}));
check('a listener goes on where its stream was cut', (c) => follow(c, () => ask('cut')));
check('a listener goes on where its stream was cut and its token expired', (c) => follow(c, () => ask('cut and expire')));

check('a listener follows a document', async (c) => {
  const f = new Follower(c.doc('a'));
  try {
    assert.equal((await f.next()).exists, false);
    await c.doc('a').set({x: 1});
    assert.deepEqual((await f.next()).data(), {x: 1});
    await c.doc('b').set({x: 1});
    await c.doc('a').update({x: 2});
    assert.deepEqual((await f.next()).data(), {x: 2});
    await c.doc('a').delete();
    assert.equal((await f.next()).exists, false);
  } finally {
    f.stop();
  }
});

check('a listener is told why it is refused', async (c) => {
  const f = new Follower(c.where('n', '!=', 1).where('t', 'not-in', [1]));
  await assert.rejects(f.next(), /Error 3: /);
  f.stop();
});

// late fails after a while: nothing here takes so long.
const late = () => new Promise((_, reject) => { setTimeout(reject, 30000, new Error('nothing happened for long')).unref(); });

(async () => {
  let n = 0;
  for (const {name, f} of checks) {
    try {
      await Promise.race([f(db.collection('c' + n++)), late()]);
      print({check: name});
    } catch (err) {
      print({check: name, error: String(err.stack ?? err)});
    }
  }
  await db.terminate();
  process.exit(0);
})();
