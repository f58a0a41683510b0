// @ts-check
// The schemas of a document, as a tree whose branches are made when they are opened.

import { html, useState } from "./vendor/htm-preact.js";

/**
 * @typedef {Record<string, any>} Part of a document
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {any} schema
 * @property {boolean} [isNeeded]
 * @property {string} [place] where a parameter is
 * @property {string} [description]
 */

/**
 * Yields what a part of a document is, wherever it says that it is another one, and the names of
 * those. One that is made of several has the fields of all.
 * @param {Part} document @param {any} part @param {string[]} [names]
 * @returns {{part: Part, names: string[]}}
 */
export function resolve(document, part, names = []) {
  if (!part || typeof part !== "object") return { part: {}, names };
  const { $ref, allOf, ...rest } = part;
  if ($ref && names.includes($ref)) return { part: rest, names };
  const below = [...(allOf ?? []), ...($ref ? [at(document, $ref)] : [])];
  let all = $ref ? [...names, $ref] : names;
  let whole = {};
  for (const one of below) {
    const found = resolve(document, one, all);
    all = found.names;
    whole = joined(whole, found.part);
  }
  return { part: joined(whole, rest), names: all };
}

/** @param {Part} document @param {string} ref */
function at(document, ref) {
  const keys = ref.replace(/^#\//, "").split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  return keys.reduce((part, key) => part?.[key], /** @type {any} */ (document));
}

/** @param {Part} one @param {Part} other */
function joined(one, other) {
  const both = { ...one, ...other };
  if (one.properties && other.properties) both.properties = { ...one.properties, ...other.properties };
  if (one.required && other.required) both.required = [...one.required, ...other.required];
  return both;
}

/** The last part of a name of the document. @param {string} ref */
function last(ref) {
  return ref.split("/").at(-1) ?? "";
}

/**
 * Says in words of what type a schema is.
 * @param {Part} document @param {any} schema @param {string[]} [seen] names that are being told
 * @returns {string}
 */
export function typeOf(document, schema, seen = []) {
  const { part, names } = resolve(document, schema, seen);
  if (schema?.$ref && (isWhole(part) || seen.includes(schema.$ref))) return last(schema.$ref);
  if ("const" in part) return JSON.stringify(part.const);
  if (part.enum) return part.enum.map((/** @type {unknown} */ one) => JSON.stringify(one)).join(", ");
  const choices = choicesOf(part);
  if (choices.length) return [...new Set(choices.map((one) => typeOf(document, one, names)))].join(" or ");
  const types = [part.type ?? []].flat();
  const told = types.map((type) => {
    if (type === "array" && part.prefixItems) return "array of several";
    if (type === "array") return `array of ${typeOf(document, part.items, names)}`;
    return part.format && type !== "null" ? `${type} (${part.format})` : type;
  });
  return told.join(" or ") || (part.properties ? "object" : "anything");
}

/** Whether the name of a schema says more than its type. @param {Part} part */
function isWhole(part) {
  return Boolean(part.properties) || choicesOf(part).length > 1;
}

/** What a schema is one of. Some say only which fields stand together. @param {Part} part @returns {any[]} */
function choicesOf(part) {
  const choices = part.oneOf ?? part.anyOf ?? [];
  return choices.filter((/** @type {Part} */ one) => Object.keys(one).some((key) => key !== "required"));
}

/**
 * Says what bounds the values of a schema, each by itself: of one that may be null, too.
 * @param {Part} document @param {any} schema @param {string[]} [within] @returns {string[]}
 */
export function boundsOf(document, schema, within = []) {
  const { part, names } = resolve(document, schema, within);
  const choices = choicesOf(part).filter((one) => one.type !== "null");
  const of = (/** @type {string} */ least, /** @type {string} */ most, /** @type {string} */ what) => {
    const [from, to] = [part[least], part[most]];
    if (from === undefined && to === undefined) return [];
    if (to === undefined) return [`at least ${from}${what}`];
    return [from ? `${from} to ${to}${what}` : `at most ${to}${what}`];
  };
  const together = (part.oneOf ?? part.anyOf ?? []).filter((/** @type {Part} */ one) => one.required);
  const shown = (/** @type {string} */ name) => (part[name] === undefined ? [] : [`${name} ${JSON.stringify(part[name])}`]);
  return [
    ...(choices.length === 1 ? boundsOf(document, choices[0], names) : []),
    ...of("minimum", "maximum", ""),
    ...of("exclusiveMinimum", "exclusiveMaximum", ", not itself"),
    ...of("minLength", "maxLength", " characters"),
    ...of("minItems", "maxItems", " items"),
    ...of("minProperties", "maxProperties", " keys"),
    ...(part.pattern ? [`matches ${part.pattern}`] : []),
    ...(together.length ? [`needs ${together.map((/** @type {Part} */ one) => one.required.join(" and ")).join(", or ")}`] : []),
    ...(part.additionalProperties === false ? ["no other keys"] : []),
    ...shown("default"),
    ...(part.examples ? [`for example ${part.examples.map((/** @type {unknown} */ one) => JSON.stringify(one)).join(", ")}`] : []),
  ];
}

/**
 * Yields the fields of a schema: those of what a list has, too, and one for each of several that it
 * may be.
 * @param {Part} document @param {any} schema @param {string[]} within the names of what is around it
 * @returns {{fields: Field[], names: string[]}}
 */
export function fieldsOf(document, schema, within) {
  const { part, names } = resolve(document, schema, within);
  const choices = choicesOf(part).filter((one) => hasFields(document, one, names));
  const isNeeded = (/** @type {string} */ name) => Boolean(part.required?.includes(name));
  const fields = Object.entries(part.properties ?? {}).map(([name, schema]) => ({ name, schema, isNeeded: isNeeded(name) }));
  if (part.additionalProperties && Object.keys(part.additionalProperties).length) {
    fields.push({ name: "any other key", schema: part.additionalProperties, isNeeded: false });
  }
  if (choices.length === 1 && !fields.length) return fieldsOf(document, choices[0], names);
  choices.forEach((schema, nth) => fields.push({ name: `either (${nth + 1})`, schema, isNeeded: false }));
  for (const [nth, schema] of (part.prefixItems ?? []).entries()) {
    fields.push({ name: `item ${nth + 1}`, schema, isNeeded: false });
  }
  if (!fields.length && part.items && hasFields(document, part.items, names)) return fieldsOf(document, part.items, names);
  return { fields, names };
}

/**
 * Whether a schema has fields that are not those of what is around it.
 * @param {Part} document @param {any} schema @param {string[]} [within] @returns {boolean}
 */
export function hasFields(document, schema, within = []) {
  return fieldsOf(document, schema, within).fields.length > 0;
}

/** The fields of a schema. @param {{document: Part, schema: any, within?: string[]}} props */
export function Schema({ document, schema, within = [] }) {
  const { fields, names } = fieldsOf(document, schema, within);
  return html`<${Fields} document=${document} fields=${fields} within=${names} />`;
}

/** @param {{document: Part, fields: Field[], within?: string[]}} props */
export function Fields({ document, fields, within = [] }) {
  return html`
    <ul class="fields">
      ${fields.map((field) => html`<${FieldView} key=${`${field.place} ${field.name}`} document=${document} field=${field} within=${within} />`)}
    </ul>`;
}

/** @param {{document: Part, field: Field, within: string[]}} props */
function FieldView({ document, field, within }) {
  const { part } = resolve(document, field.schema, within);
  const isAround = within.includes(field.schema?.$ref) || within.includes(field.schema?.items?.$ref);
  const description = field.description ?? part.description;
  return html`
    <li>
      <code>${field.name}</code> ${field.place && html`<small>${field.place}</small> `}
      <span class="type">${typeOf(document, field.schema, within)}</span>
      ${field.isNeeded && html` <b>required</b>`}
      ${boundsOf(document, field.schema, within).map((words) => html` <small>· ${words}</small>`)}
      ${description && prose(description)}
      ${isAround
        ? html`<p><small>as around it</small></p>`
        : hasFields(document, field.schema, within) && html`
          <${Fold} title=${`Fields of ${field.name}`}
            make=${() => html`<${Schema} document=${document} schema=${field.schema} within=${within} />`} />`}
    </li>`;
}

/**
 * What is made when it is opened for the first time: a schema may have itself as a part.
 * @param {{title: any, make: () => any}} props
 */
export function Fold({ title, make }) {
  const [isOpen, setOpen] = useState(false);
  const toggled = (/** @type {Event} */ event) => setOpen(/** @type {HTMLDetailsElement} */ (event.target).open);
  return html`
    <details onToggle=${toggled}>
      <summary>${title}</summary>
      ${isOpen && make()}
    </details>`;
}

/**
 * Writes a text with its paragraphs and its words of code. Some are made of comments, whose links
 * lead nowhere here.
 * @param {string} text
 */
export function prose(text) {
  const plain = text.replace(/\[([^\]]+)\](\([^)]*\))?/g, (whole, words, to) => (to || words.startsWith("`") ? words : whole));
  return plain.split(/\n\s*\n/).map((part) => html`
    <p>${part.split("`").map((piece, nth) => (nth % 2 ? html`<code>${piece}</code>` : piece))}</p>`);
}
