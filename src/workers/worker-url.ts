// Where the entry files of threads are.

/** The compiler does not rewrite URLs: sources load `.ts` files, the built package `.js` files. */
const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

/** URL of an entry file of this folder, by its name without extension: `prompt-worker`. */
export function workerUrl(name: string): URL {
  return new URL(`./${name}${extension}`, import.meta.url)
}
