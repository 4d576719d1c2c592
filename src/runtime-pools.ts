// Pools: backends of one model under one name.

import type { Issue } from './errors.ts'
import { isUnsafeKey } from './ids.ts'
import { limits } from './limits.ts'
import type { BackendDefinition } from './engines/backend-definition.ts'

/** Members by the name of their pool. */
export type Pools = Readonly<Record<string, readonly string[]>>

/** What is wrong with pools: they name different backends that exist and serve one model, under names of their own. */
export function poolIssues(pools: Pools, backends: Readonly<Record<string, BackendDefinition>>): Issue[] {
  const issues: Issue[] = []
  const names = Object.keys(backends)
  const all = Object.entries(pools)
  if (all.length > limits.poolsMax) {
    issues.push({ path: 'pools', code: 'too_many', message: `at most ${limits.poolsMax} pools, not ${all.length}` })
  }
  for (const [name, members] of all) {
    const path = `pools.${name}`
    if (isUnsafeKey(name)) issues.push({ path, code: 'unsafe_key', message: `"${name}" cannot be a name` })
    if (names.includes(name)) {
      issues.push({ path, code: 'duplicate_name', message: `there is a backend "${name}"; give the pool another name` })
    }
    if (!Array.isArray(members) || members.length === 0 || members.length > limits.poolMembersMax) {
      const message = `give a list of 1 to ${limits.poolMembersMax} backends`
      issues.push({ path, code: 'invalid_list', message })
      continue
    }
    const model = backends[String(members[0])]?.settings?.model
    ;(members as readonly unknown[]).forEach((member, i) => {
      const at = `${path}[${i}]`
      if (typeof member !== 'string' || !names.includes(member)) {
        const message = `there is no backend ${JSON.stringify(member)}; there are: ${names.join(', ')}`
        issues.push({ path: at, code: 'unknown_backend', message })
      } else if (members.indexOf(member) !== i) {
        issues.push({ path: at, code: 'same_backend', message: `"${member}" is in it already` })
      } else if (model !== undefined && backends[member]!.settings.model !== model) {
        const message = `"${member}" serves ${backends[member]!.settings.model}, "${String(members[0])}" ${model}; replicas serve one model`
        issues.push({ path: at, code: 'other_model', message })
      }
    })
  }
  return issues
}
