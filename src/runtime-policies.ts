// Names of scheduling policies
//
// Owns: the policies that were given as objects or functions, by the name that messages call them: functions do not
// travel.
// Does not own: what a policy does, or where it is used.
// Invariants
//   N1. The same object has the same name for ever: setting it again and again adds nothing.

import { OptionsError } from './errors.ts'
import type { PolicyOption } from './runtime-api.ts'
import type { SchedulingPolicy } from './scheduling/policy.ts'
import { schedulingPolicy, schedulingPolicyNames, type SchedulingPolicyName } from './scheduling/registry.ts'

/** Policies by name: those that ship, and those that users give. */
export class PolicyNames {
  readonly #custom = new Map<string, () => SchedulingPolicy>()
  readonly #names = new WeakMap<object, string>()
  readonly #weights: Readonly<Record<string, number>>
  #forecasts = false

  /** @param weights - shares of tenants, for stock policies that know tenants */
  constructor(weights: Readonly<Record<string, number>> = {}) {
    this.#weights = weights
  }

  /** Whether a policy that reads forecasts was ever made. */
  get forecasts(): boolean {
    return this.#forecasts
  }

  /**
   * Name of a policy.
   *
   * @throws {OptionsError} `ORLA_OPTIONS` for a name that no policy has
   */
  nameOf(option: PolicyOption): string {
    if (typeof option === 'string') {
      if (schedulingPolicyNames.includes(option)) return option
      const message = `there is no policy "${String(option)}"; there are: ${schedulingPolicyNames.join(', ')}`
      throw new OptionsError('scheduling', [{ path: 'policy', code: 'unknown_policy', message }])
    }
    const make = typeof option === 'function' ? option : () => option
    let name = this.#names.get(option)
    if (name === undefined) {
      name = `${make().name}#${this.#custom.size + 1}`
      this.#names.set(option, name)
      this.#custom.set(name, make)
    }
    return name
  }

  /** The policy of a name that `nameOf` gave. */
  policyOf(name: string): SchedulingPolicy {
    const make = this.#custom.get(name)
    const policy = make === undefined ? schedulingPolicy(name as SchedulingPolicyName, this.#weights) : make()
    this.#forecasts ||= policy.forecast === true
    return policy
  }
}
