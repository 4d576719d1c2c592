// Numbers as people read them.

/** A duration: `0 ms`, `940 ms`, `1.24 s`, `2 min 05 s`. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_995) return `${(ms / 1000).toFixed(2)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}

/** A moment of a run: `1.240`, in seconds. */
export function moment(ms: number): string {
  return (ms / 1000).toFixed(3)
}

/** A count with thousands apart; `-` for one that nobody knows, which is not zero. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? '-' : value.toLocaleString('en-US')
}

/** A share as a percentage; empty without a whole. */
export function percent(part: number, whole: number): string {
  return whole <= 0 ? '' : `${Math.round((part / whole) * 100)} %`
}

/** JSON of any value on one line; never throws. */
export function compactJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'null'
  } catch {
    return String(value)
  }
}
