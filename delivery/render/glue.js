// The part of the renderer that runs inside the engine, after handlebars.js.
// Go calls the four functions at the end, each with one string of JSON.

// Handlebars writes its code by way of the npm package source-map where it has
// it, as in Node, and else puts strings together and leaves out a step: names
// for what is used twice. Those names show in errors, so this stands in for the
// package's SourceNode, as far as Handlebars uses it.
function postriderSourceNode(line, column, file, chunks) {
  this.children = [];
  if (chunks) {
    this.add(chunks);
  }
}

postriderSourceNode.prototype = {
  add: function (chunk) {
    if (Array.isArray(chunk)) {
      chunk.forEach(this.add, this);
    } else if (chunk) {
      this.children.push(chunk);
    }
    return this;
  },
  prepend: function (chunk) {
    if (Array.isArray(chunk)) {
      chunk.reverse().forEach(this.prepend, this);
    } else {
      this.children.unshift(chunk);
    }
    return this;
  },
  toString: function () {
    return this.children.join('');
  }
};

var postrider = (function () {
  'use strict';

  // Handlebars makes a function of the code it generates by calling Function.
  // Here each gets a name of its own, so that an error's stack trace leads to
  // the code it was thrown in, and v8.go can say what was no function.
  var generated = new Map();
  var lastFunction = 0;
  var evaluate = eval;
  globalThis.Function = function () {
    var parameters = Array.prototype.slice.call(arguments);
    var body = parameters.pop();
    var name = 't' + ++lastFunction;
    var f = evaluate('(function ' + name + '(' + parameters.join(',') + '\n) {\n' + body + '\n})');
    generated.set(name, new WeakRef(f));
    return f;
  };
  globalThis.Function.prototype = Object.getPrototypeOf(evaluate);

  // These two stand for expressions of handlebars.js on values from outside.
  // Where those can't have properties, the engine's error would not say which
  // one was asked for, as Node's does.
  globalThis.postriderGet = function (value, name) {
    if (value == null) {
      throw new TypeError('Cannot read properties of ' + value + " (reading '" + name + "')");
    }
    return value[name];
  };

  globalThis.postriderIn = function (name, value) {
    if (typeof value !== 'object') {
      throw new TypeError("Cannot use 'in' operator to search for '" + name + "' in " + value);
    }
    return name in value;
  };

  // Handlebars sets up a template for each rendering: above all it wraps every
  // helper in a function of its own, which takes longer than a short template. Here
  // helpers and options are always the same, so once will do. Only the partials may
  // have been left otherwise, by an inline partial in a rendering that failed.
  globalThis.postriderAgain = function (options, container, env) {
    if (options.partial || !container.hooks) {
      return false;
    }
    container.partials = env.partials;
    return true;
  };

  // Firestore's values, as far as a template can see the Admin SDK's classes:
  // own properties are shown, members of the prototype are not.
  class Timestamp {
    constructor(seconds, nanoseconds) {
      this._seconds = seconds;
      this._nanoseconds = nanoseconds;
    }
    valueOf() {
      return String(this._seconds + 62135596800).padStart(12, '0') + '.' + String(this._nanoseconds).padStart(9, '0');
    }
  }

  class GeoPoint {
    constructor(latitude, longitude) {
      this._latitude = latitude;
      this._longitude = longitude;
    }
  }

  // The SDK's reference carries its client along. Only an empty object stands
  // for that here.
  class DocumentReference {
    constructor(segments) {
      this._firestore = {};
      this._path = { segments: segments };
      this._converter = {};
    }
  }

  class Buffer extends Uint8Array {
    toString() {
      return utf8(this);
    }
    toJSON() {
      return { type: 'Buffer', data: Array.from(this) };
    }
  }

  // A strict template asks whether a value has a member, which those of the
  // prototype are, before it finds that it may not see it.
  function conceal(type, names) {
    names.split(' ').forEach(function (name) {
      Object.defineProperty(type.prototype, name, { value: function () {}, configurable: true, writable: true });
    });
  }

  conceal(Timestamp, 'seconds nanoseconds toDate toMillis isEqual toProto');
  conceal(GeoPoint, 'latitude longitude isEqual toProto');
  conceal(DocumentReference, 'formattedName firestore path id parent get collection listCollections create delete set update onSnapshot isEqual toProto withConverter');

  // Decodes UTF-8, with one U+FFFD for each maximal part of a bad sequence.
  function utf8(bytes) {
    var parts = [], i = 0;
    while (i < bytes.length) {
      var first = bytes[i++];
      if (first < 0x80) {
        parts.push(String.fromCharCode(first));
        continue;
      }
      var more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
      var low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      var high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      var code = more ? first & (0x3f >> more) : 0xfffd;
      for (var left = more; left > 0; left--) {
        if (i >= bytes.length || bytes[i] < low || bytes[i] > high) {
          code = 0xfffd;
          break;
        }
        code = (code << 6) | (bytes[i++] & 0x3f);
        low = 0x80;
        high = 0xbf;
      }
      parts.push(String.fromCodePoint(code));
    }
    return parts.join('');
  }

  function special(kind, argument) {
    switch (kind) {
      case 'time':
        return new Timestamp(argument[0], argument[1]);
      case 'point':
        return new GeoPoint(Number(argument[0]), Number(argument[1]));
      case 'reference':
        return new DocumentReference(argument);
      case 'bytes':
        return Buffer.from(argument, function (c) { return c.charCodeAt(0) & 0xff; });
      default:
        return Number(argument);
    }
  }

  // Undoes encode.go: a value, and what JSON has no word for by its mark.
  function decode(encoded) {
    var root = { value: encoded[0] };
    var open = encoded.length > 1 ? [{ parent: root, marks: ['value', encoded[1]] }] : [];
    while (open.length) {
      var next = open.pop(), parent = next.parent, marks = next.marks;
      for (var i = 0; i < marks.length; i += 2) {
        var key = marks[i], mark = marks[i + 1];
        if (typeof mark === 'string') {
          Object.defineProperty(parent, key, {
            value: special(mark, parent[key]),
            configurable: true, enumerable: true, writable: true
          });
        } else {
          open.push({ parent: parent[key], marks: mark });
        }
      }
    }
    return root.value;
  }

  var environments = new Map();

  function environment(field) {
    var e = environments.get(field);
    if (!e) {
      e = { handlebars: Handlebars.create(), registered: new Map() };
      e.handlebars.log = function () {};
      environments.set(field, e);
    }
    return e;
  }

  function register(e, sources) {
    e.registered.forEach(function (source, name) {
      if (sources[name] !== source) {
        e.handlebars.unregisterPartial(name);
        e.registered.delete(name);
      }
    });
    Object.keys(sources).forEach(function (name) {
      if (!e.registered.has(name)) {
        e.handlebars.registerPartial(name, decode(JSON.parse(sources[name])));
        e.registered.set(name, sources[name]);
      }
    });
  }

  function compile(part) {
    var source = decode(JSON.parse(part.source));
    if (part.json) {
      source = JSON.stringify(source);
    }
    return { field: part.field, render: environment(part.field).handlebars.compile(source, part.options) };
  }

  function describe(error) {
    var stack = String((error && error.stack) || '');
    var frame = /^\s*at (t\d+) \(/.exec(stack);
    var f = frame && generated.get(frame[1]) && generated.get(frame[1]).deref();
    return {
      text: String(error),
      name: error && String(error.name),
      message: error && String(error.message),
      stack: stack,
      source: f ? f.toString() : ''
    };
  }

  var templates = new Map();

  return {
    // Makes {field: {name: source}} all the partials there are.
    partials: function (request) {
      var fields = JSON.parse(request);
      environments.forEach(function (e, field) {
        register(e, fields[field] || {});
      });
      Object.keys(fields).forEach(function (field) {
        register(environment(field), fields[field]);
      });
      return '';
    },

    // Compiles {id, parts: [{field, source, json, options}]}. Handlebars
    // compiles when it first renders, so no fault in a template shows here.
    compile: function (request) {
      var template = JSON.parse(request);
      templates.set(template.id, template.parts.map(compile));
      return '';
    },

    // Forgets the templates with these IDs.
    forget: function (request) {
      JSON.parse(request).forEach(function (id) { templates.delete(id); });
      generated.forEach(function (reference, name) {
        if (!reference.deref()) {
          generated.delete(name);
        }
      });
      return '';
    },

    // Renders {id, data, limit}, part by part until one fails.
    render: function (request) {
      var job = JSON.parse(request);
      var data = job.data ? decode(job.data) : undefined;
      var result = { fields: {}, failed: '', tooLarge: false };
      var parts = templates.get(job.id);
      var length = 0;
      for (var i = 0; i < parts.length; i++) {
        try {
          var text = parts[i].render(data);
        } catch (error) {
          result.failed = parts[i].field;
          result.error = describe(error);
          break;
        }
        length += text.length;
        if (length > job.limit) {
          result.failed = parts[i].field;
          result.tooLarge = true;
          break;
        }
        result.fields[parts[i].field] = text;
      }
      return JSON.stringify(result);
    }
  };
})();
