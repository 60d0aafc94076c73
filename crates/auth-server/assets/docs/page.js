// Draws the page at /docs from openapi.json, and sends what is filled in. Text only ever goes in as text, never as markup;
// secrets live in the fields of the page and nowhere else.

const FORM = "application/x-www-form-urlencoded";
const PATIENCE_MS = 30_000;
/** The folder that the page is in, below which the server's paths are, whatever prefix a proxy has put before them. */
const base = new URL(".", document.baseURI);

const byId = (id) => document.getElementById(id);

/** A new element with children; texts among them become text. */
function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function cloneOf(template) {
  return byId(template).content.firstElementChild.cloneNode(true);
}

/** A description with its `code` and its paragraphs. */
function prose(text) {
  return (text ?? "").split("\n\n").filter(Boolean).map((paragraph) => {
    const pieces = paragraph.split("`").map((piece, at) => (at % 2 ? make("code", "", piece) : piece));
    return make("p", "", ...pieces);
  });
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Follows `$ref`s inside the document. */
function resolver(api) {
  return function resolve(thing) {
    if (!thing?.$ref) return thing;
    return resolve(thing.$ref.replace(/^#\//, "").split("/").reduce((inside, key) => inside[key], api));
  };
}

class Endpoint {
  constructor(api, path, method, operation) {
    this.resolve = resolver(api);
    this.path = path;
    this.method = method.toUpperCase();
    this.operation = operation;
    this.body = this.resolve(operation.requestBody)?.content[FORM];
    this.element = cloneOf("endpoint");
    this.form = this.find("form");
    this.draw();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  draw() {
    const { operation } = this;
    this.element.id = operation.operationId;
    this.find(".method").textContent = this.method;
    this.find(".method").classList.add(this.method.toLowerCase());
    this.find(".path").textContent = this.path;
    this.find(".summary").textContent = operation.summary ?? "";
    this.find(".description").append(...prose(operation.description));
    this.find(".fields").append(...this.fields());
    this.find(".basic").hidden = !(operation.security ?? []).some((way) => "client_secret_basic" in way);
    this.drawExamples();
    this.find(".answers > div").append(...Object.entries(operation.responses).map((answer) => this.told(...answer)));
    this.form.addEventListener("input", () => this.showCommand());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.showCommand();
  }

  fields() {
    const schema = this.resolve(this.body?.schema);
    const needed = schema?.required ?? [];
    const ofForm = Object.entries(schema?.properties ?? {}).map(([name, about]) => this.field(name, about, needed.includes(name)));
    const ofHead = this.headParameters().map((parameter) => this.field(parameter.name, { ...parameter.schema, ...parameter }, false));
    return [...ofForm, ...ofHead];
  }

  /** What goes into the head of the request; a page may not set cookies. */
  headParameters() {
    return (this.operation.parameters ?? []).map(this.resolve).filter((parameter) => parameter.in === "header");
  }

  field(name, about, isNeeded) {
    const field = cloneOf("field");
    const schema = this.resolve(about.$ref ? about : (about.oneOf ?? about.allOf ?? [about]).find((one) => one.type !== "null"));
    const input = schema.enum ? this.choice(schema.enum, isNeeded) : make("input");
    input.name = name;
    input.spellcheck = false;
    if (schema.format === "password") input.type = "password";
    input.autocomplete = schema.format === "password" ? "new-password" : "off";
    field.querySelector(".name").textContent = name;
    field.querySelector(".needed").hidden = !isNeeded;
    field.querySelector("label").append(input);
    field.querySelector(".quiet").append(...prose(about.description ?? schema.description).flatMap((p) => [...p.childNodes]));
    return field;
  }

  choice(values, isNeeded) {
    const select = make("select");
    for (const value of isNeeded ? values : ["", ...values]) select.add(new Option(value));
    return select;
  }

  drawExamples() {
    const examples = Object.entries(this.body?.examples ?? {});
    if (examples.length === 0) return;
    this.find(".examples").hidden = false;
    const select = this.find(".example");
    for (const [name, example] of examples) select.add(new Option(this.resolve(example).summary || name, name));
    const fillIn = () => this.fillIn(this.resolve(this.body.examples[select.value]).value);
    select.addEventListener("change", fillIn);
    fillIn();
  }

  /** Puts an example into the form, but for secrets: those of an example are nobody's. */
  fillIn(example) {
    for (const input of this.inputs()) {
      if (input.type !== "password") input.value = example[input.name] ?? "";
    }
    this.showCommand();
  }

  inputs() {
    return [...this.find(".fields").querySelectorAll("[name]")];
  }

  /** What is filled in, in the order of the document. */
  filled() {
    const inHead = new Set(this.headParameters().map((parameter) => parameter.name));
    const filled = this.inputs().filter((input) => input.value !== "");
    return {
      form: filled.filter((input) => !inHead.has(input.name)),
      head: filled.filter((input) => inHead.has(input.name)),
      id: this.find(".basic-id").value,
      secret: this.find(".basic-secret").value,
    };
  }

  get url() {
    return new URL(this.path.replace(/^\//, ""), base);
  }

  /** The request as a line for a shell. Secrets are named, not shown: `$PASSWORD` is the reader's to set. */
  showCommand() {
    const { form, head, id, secret } = this.filled();
    const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const words = [`curl -i ${this.url}`];
    if (id || secret) words.push(`--user ${quote(id)}:"$CLIENT_SECRET"`);
    words.push(...head.map((input) => `--header ${quote(`${input.name}: ${input.value}`)}`));
    words.push(...form.map((input) => (input.type === "password"
      ? `--data-urlencode "${input.name}=$${input.name.toUpperCase()}"`
      : `--data-urlencode ${quote(`${input.name}=${input.value}`)}`)));
    this.find(".command code").textContent = words.join(" \\\n  ");
  }

  request() {
    const { form, head, id, secret } = this.filled();
    const headers = new Headers(head.map((input) => [input.name, input.value]));
    if (id || secret) headers.set("Authorization", basic(id, secret));
    const body = new URLSearchParams(form.map((input) => [input.name, input.value]));
    return {
      method: this.method,
      headers,
      body: this.body ? body : undefined,
      cache: "no-store",
      // No cookie of a known device is left behind, and no browser asks for a password of its own.
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE_MS),
    };
  }

  async send() {
    const button = this.find("button");
    button.disabled = true;
    const begun = performance.now();
    try {
      const response = await fetch(this.url, this.request());
      const text = await response.text();
      this.show(response, text, Math.round(performance.now() - begun));
    } catch (failure) {
      this.showAnswer(false, `No answer: ${failure.message}`, "", "");
    } finally {
      button.disabled = false;
    }
  }

  show(response, text, took) {
    const isJson = (response.headers.get("Content-Type") ?? "").startsWith("application/json");
    const body = isJson ? JSON.parse(text) : text;
    const head = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const isGood = response.ok || response.status === 304;
    this.showAnswer(isGood, `${response.status} ${response.statusText} after ${took} ms`, head, pretty(body));
    const claims = isJson && claimsOf(body.access_token);
    this.find(".claims").hidden = !claims;
    if (claims) this.find(".claims pre").textContent = pretty(claims);
    if (isJson) handOn(body);
  }

  showAnswer(isGood, title, head, body) {
    const answer = this.find(".answer");
    answer.hidden = false;
    answer.classList.toggle("good", isGood);
    this.find(".claims").hidden = true;
    answer.querySelector("h4").textContent = title;
    for (const [part, text] of [[".headers", head], [".body", body]]) {
      answer.querySelector(part).textContent = text;
      answer.querySelector(part).hidden = text === "";
    }
  }

  /** One documented answer: its headers, its members, its examples. */
  told(status, answer) {
    const { description, headers, content } = this.resolve(answer);
    const told = cloneOf("told");
    told.querySelector("h4").textContent = `${status}: ${description ?? ""}`;
    told.querySelector(".headers").append(...terms(Object.entries(headers ?? {}), this.resolve));
    const [media] = Object.values(content ?? {});
    const schema = this.resolve(media?.schema);
    told.querySelector(".members").append(...terms(Object.entries(schema?.properties ?? {}), this.resolve));
    told.querySelector(".shown").append(...this.shown(media ?? {}));
    return told;
  }

  shown({ example, examples }) {
    if (example !== undefined) return [make("pre", "", pretty(example))];
    return Object.entries(examples ?? {}).map(([name, given]) => {
      const { summary, value } = this.resolve(given);
      return make("details", "", make("summary", "", summary || name), make("pre", "", pretty(value)));
    });
  }
}

function terms(entries, resolve) {
  return entries.flatMap(([name, about]) => [
    make("dt", "", make("code", "", name)),
    make("dd", "", ...prose(resolve(about).description ?? about.description).flatMap((p) => [...p.childNodes])),
  ]);
}

/** The credentials of a client, each part form-encoded before they are joined (RFC 6749 section 2.3.1). */
function basic(id, secret) {
  const encode = (text) => new URLSearchParams([["", text]]).toString().slice(1);
  return `Basic ${btoa(`${encode(id)}:${encode(secret)}`)}`;
}

/** The middle part of a JWT. It is only read here: whether it is true, its signature tells. */
function claimsOf(token) {
  const part = typeof token === "string" ? token.split(".")[1] : undefined;
  if (!part) return undefined;
  const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** Puts a new refresh token where the other endpoints need one, so that the next step is one click away. */
function handOn({ refresh_token: token }) {
  if (!token) return;
  for (const input of document.querySelectorAll('[name="refresh_token"], [name="token"]')) input.value = token;
}

function draw(api) {
  byId("title").textContent = api.info.title;
  byId("version").textContent = api.info.version;
  byId("about").append(...prose(api.info.description));
  for (const tag of api.tags) {
    const heading = make("h2", "", tag.name);
    byId("endpoints").append(heading, ...prose(tag.description));
    byId("contents").append(make("h2", "", tag.name));
    for (const endpoint of endpointsOf(api, tag.name)) {
      byId("endpoints").append(endpoint.element);
      const link = make("a", "", make("code", "", `${endpoint.method} ${endpoint.path}`));
      link.href = `#${endpoint.element.id}`;
      byId("contents").append(link);
    }
  }
}

function endpointsOf(api, tag) {
  return Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods)
    .filter(([, operation]) => operation.tags?.includes(tag))
    .map(([method, operation]) => new Endpoint(api, path, method, operation)));
}

try {
  const response = await fetch(new URL("openapi.json", base), { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  draw(await response.json());
  document.body.dataset.drawn = "true";
} catch (failure) {
  byId("failure").textContent = `openapi.json can't be read: ${failure.message}`;
  byId("failure").hidden = false;
}
