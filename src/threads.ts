// Threads: where their entry files are, and how each is started.

import { setFlagsFromString } from 'node:v8'

/**
 * URL of the file `name` beside the module `from` (its `import.meta.url`).
 *
 * The compiler does not rewrite URLs: sources load `.ts` files, the built package `.js` files.
 */
export function entryFile(from: string, name: string): URL {
  return new URL(`./${name}${isTypeScript(from) ? '.ts' : '.js'}`, from)
}

/**
 * What a thread is started with, whatever it does.
 *
 * A thread inherits the flags of its process, V8's among them, which it would refuse if they were given here. But
 * `--input-type` is for a program given as text, and a thread that inherits it does not start.
 *
 * @param modules - files the thread will load, its entry first: with TypeScript among them this process is made safe first
 */
export function threadOptions(...modules: (URL | string)[]): { execArgv?: string[] } {
  if (modules.some(isTypeScript)) keepWrappers()
  const isText = process.execArgv.some((argument) => argument.startsWith('--input-type'))
  return isText ? { execArgv: [] } : {}
}

function isTypeScript(module: URL | string): boolean {
  return /\.[cm]?ts(?:$|[?#])/.test(String(module))
}

let keepsWrappers = false

/**
 * Calls from WebAssembly keep the wrappers they begin with.
 *
 * Node strips types with WebAssembly, in each thread by itself. V8 gives a much used import a faster wrapper, which all
 * threads share, and frees the former one; when a thread ends meanwhile, the process may die (SIGSEGV in
 * Runtime_TierUpWasmToJSWrapper; Node 24.21). Seen twice in 1,000 starts of a thread; with wrappers replaced after 10
 * calls instead of 1,000, 9 of 22 processes died within 400 starts, and none of 22 with this flag. It costs such a
 * thread 5 ms of its 58 ms.
 */
function keepWrappers(): void {
  if (keepsWrappers) return
  keepsWrappers = true
  setFlagsFromString('--wasm-wrapper-tiering-budget=2000000000')
}
