// Names: what they may be, and how a stage class is called.

/** Keys that would reach into an object's prototype. Never accepted as a name. */
const unsafeKeys = new Set(['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty'])

/** True if `key` must not be used as a stage, backend, tool or workflow name. */
export function isUnsafeKey(key: string): boolean {
  return unsafeKeys.has(key)
}

/** Name of a stage class, `<workflow>/<stage>`: all runs of a workflow share it, and so its sub-queue. */
export function stageClassOf(workflow: string, stage: string): string {
  return `${workflow}/${stage}`
}
