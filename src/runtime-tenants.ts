// Tenants of one runtime
//
// Owns: how many runs of each limited tenant are live.
// Does not own: requests in flight and tokens (tenant gate), the runs.
// Invariants
//   T1. A tenant never has more live runs than its limit says.

import { OrlaError } from './errors.ts'
import { TenantGate } from './scheduling/tenant-gate.ts'
import { TenantsOptions } from './schema/tenants.ts'

/** What tenants may have, at work. */
export class RuntimeTenants {
  /** Undefined where no tenant has a limit on requests or tokens: backends ask nobody then. */
  readonly gate: TenantGate | undefined
  /** Shares by tenant, for policies. */
  readonly weights: Readonly<Record<string, number>>
  readonly #all: TenantGate
  readonly #live = new Map<string, number>()

  constructor(options: TenantsOptions = {}) {
    const tenants = TenantsOptions.parse(options)
    this.#all = new TenantGate(tenants)
    const limited = Object.values(tenants).some(
      ({ inFlightMax, inFlightPerBackendMax, tokensPerMinute }) =>
        (inFlightMax ?? inFlightPerBackendMax ?? tokensPerMinute) !== undefined,
    )
    this.gate = limited ? this.#all : undefined
    this.weights = Object.fromEntries(
      Object.entries(tenants).flatMap(([name, { weight }]) => (weight === undefined ? [] : [[name, weight]])),
    )
  }

  /**
   * A run begins.
   *
   * @throws {OrlaError} `ORLA_TENANT_LIMIT`, retryable, if its tenant has as many as it may
   */
  began(tenant: string): void {
    const liveRunsMax = this.#all.limitsOf(tenant)?.liveRunsMax
    if (liveRunsMax === undefined) return
    const live = this.#live.get(tenant) ?? 0
    if (live >= liveRunsMax) {
      const message = `tenant "${tenant}" has ${live} live runs already; wait for some to end, or raise its liveRunsMax`
      throw new OrlaError('ORLA_TENANT_LIMIT', message, { retryable: true, details: { tenant, liveRunsMax } })
    }
    this.#live.set(tenant, live + 1)
  }

  /** A run ended. */
  ended(tenant: string): void {
    const live = this.#live.get(tenant)
    if (live === undefined) return
    if (live === 1) this.#live.delete(tenant)
    else this.#live.set(tenant, live - 1)
  }
}
