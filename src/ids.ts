// Branded ids: strings that the compiler keeps apart.

declare const kind: unique symbol
type Branded<Kind extends string> = string & { readonly [kind]?: Kind }

/** Id of one run: `run-` and a number that counts up within a runtime, and a suffix drawn from its seed. */
export type RunId = Branded<'run'>

/** Id of one request (one turn of one stage of one run): `<runId>/<stage>/<turn>.<attempt>`. */
export type RequestId = Branded<'request'>

/** Name of a stage class: `<workflow>/<stage>`. All runs of a workflow share it. */
export type StageClass = Branded<'stage-class'>

/** Keys that would reach into an object's prototype. Never accepted as a name. */
const unsafeKeys = new Set(['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty'])

/** True if `key` must not be used as a stage, backend, tool or workflow name. */
export function isUnsafeKey(key: string): boolean {
  return unsafeKeys.has(key)
}

/** The stage class of a stage of a workflow. */
export function stageClassOf(workflow: string, stage: string): StageClass {
  return `${workflow}/${stage}`
}
