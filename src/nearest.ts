// What somebody may have meant.

/** The nearest of `names` to `given`, for "did you mean"; undefined if none is near. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  // The beginning of a name is a way to write it.
  const begun = names.filter((name) => given.length >= 3 && name.startsWith(given))
  if (begun.length === 1) return begun[0]
  let best: { name: string; distance: number } | undefined
  for (const name of names) {
    const distance = editDistance(given.toLowerCase(), name.toLowerCase())
    if (best === undefined || distance < best.distance) best = { name, distance }
  }
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.name.length / 3)) ? best.name : undefined
}

/** Insertions, deletions and replacements between two short words (Levenshtein). */
function editDistance(a: string, b: string): number {
  // Names are short; what is longer than any of them is near to none.
  if (Math.abs(a.length - b.length) > 8) return Math.abs(a.length - b.length)
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}
