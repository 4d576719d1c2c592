// The words of faults: texts, tool calls and errors that break those who take them at their word.

/** Texts that break screens, logs and files, by kind. */
export const dangerousTexts: Readonly<Record<string, string>> = {
  surrogate: 'a\uD800b',
  nul: 'a\u0000b',
  marks: `a${'\u0301'.repeat(10_000)}b`,
  ansi: '\u001B[2J\u001B]0;owned\u0007b',
  script: '</script><script>alert(1)</script>',
  bidi: 'a\u202Etxt.exe\u202Cb',
}

/** What stands for an error of an engine. */
const nested = { error: { message: 'the engine lost this request', type: 'InternalServerError', code: 500 } }

/** Bodies that say an error, by kind. */
export function errorBody(kind: string): object {
  switch (kind) {
    case 'flat':
      return { object: 'error', message: nested.error.message, type: nested.error.type, code: 500 }
    case 'text':
      return { error: nested.error.message }
    default:
      return nested
  }
}

/** Calls of a tool `lookup`, damaged in each way, as the `tool_calls` of deltas. */
export function damagedCalls(kind: string): object[][] {
  const call = (index: number, name: string | undefined, text: string, id = `call_${index}`): object => ({
    index,
    id,
    type: 'function',
    function: { ...(name !== undefined && { name }), arguments: text },
  })
  switch (kind) {
    case 'invalid':
      return [[call(0, 'lookup', '{key: oops}')]]
    case 'cut':
      return [[call(0, 'lookup', '{"key":"or')]]
    case 'twice':
      return [[call(0, 'lookup', '{"key":"a"}', 'call_a')], [call(0, 'lookup', '{"key":"b"}', 'call_b')]]
    case 'gap':
      return [[call(0, 'lookup', '{"key":"a"}')], [call(7, 'lookup', '{"key":"b"}')]]
    case 'unnamed':
      return [[call(0, undefined, '{"key":"a"}')]]
    case 'merged':
      return [[call(0, 'lookup', '{"key":"a"}{"key":"b"}')]]
    default:
      return []
  }
}

/** What stands where the usage of an answer belongs, as JSON text, by kind; undefined: nothing. */
export function oddUsage(kind: string): string | undefined {
  switch (kind) {
    case 'negative':
      return '{"prompt_tokens":-5,"completion_tokens":-1,"total_tokens":-6}'
    case 'nan':
      return '{"prompt_tokens":"NaN","completion_tokens":null,"total_tokens":"many"}'
    case 'huge':
      return '{"prompt_tokens":1e308,"completion_tokens":9007199254740993,"total_tokens":1e309}'
    default:
      return undefined
  }
}
