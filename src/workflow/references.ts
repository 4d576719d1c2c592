// Backends that workflows name, each with the path of the option: checked by the runtime, which has the backends.

/** A workflow's mention of a backend. */
export interface BackendReference {
  path: string
  backend: string
}

/** Backends that the options of a stage name, whatever else is wrong with them. */
export function stageReferences(options: unknown, path: string): BackendReference[] {
  if (typeof options !== 'object' || options === null) return []
  const { backend, fallback, cascade, mapping } = options as Record<string, unknown>
  return [
    ...(typeof backend === 'string' ? [{ path: `${path}.backend`, backend }] : []),
    ...(Array.isArray(fallback) ? namesAt(fallback, `${path}.fallback`) : []),
    ...namesAt((cascade as { to?: unknown } | null | undefined)?.to, `${path}.cascade.to`),
    ...mappingReferences(mapping, `${path}.mapping`),
  ]
}

/** Backends that a mapping from plain data names. */
export function mappingReferences(mapping: unknown, path: string): BackendReference[] {
  if (typeof mapping !== 'object' || mapping === null) return []
  const { steps, hardness, ...fields } = mapping as Record<string, unknown>
  const own = ['among', 'light', 'heavy', 'below', 'above', 'router'].flatMap((key) =>
    namesAt(fields[key], `${path}.${key}`),
  )
  const asked = namesAt((hardness as { router?: unknown } | null | undefined)?.router, `${path}.hardness.router`)
  const nested = Array.isArray(steps)
    ? steps.flatMap((step: unknown, i) => mappingReferences(step, `${path}.steps[${i}]`))
    : []
  return [...own, ...asked, ...nested]
}

function namesAt(value: unknown, path: string): BackendReference[] {
  if (typeof value === 'string') return [{ path, backend: value }]
  if (!Array.isArray(value)) return []
  return value.flatMap((each: unknown, i) =>
    typeof each === 'string' ? [{ path: `${path}[${i}]`, backend: each }] : [],
  )
}
