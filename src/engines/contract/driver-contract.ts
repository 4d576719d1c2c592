// The driver contract as checks that any driver passes, or says why it cannot.
//
// For any test runner: a list of named functions. A check that is excepted must fail: an exception that is no longer
// true is a mistake as well.

import { realClock } from '../../clock.ts'
import { silentLogger } from '../../log.ts'
import type { Check, ContractSubject } from './check.ts'
import { chatChecks } from './chat-checks.ts'
import { faultChecks } from './fault-checks.ts'
import { kvChecks } from './kv-checks.ts'
import { wireChecks } from './wire-checks.ts'

/** Options of {@link driverContract}. */
export interface DriverContractOptions {
  /** Starts an engine for one check; its model should answer at a rate that leaves time to cancel. */
  start: () => Promise<ContractSubject>
  /** Checks that this driver cannot pass, by name, each with the reason. */
  exceptions?: Readonly<Partial<Record<ContractCheckName, string>>>
}

/** One check, for `test(name, run)`. */
export interface ContractCheck {
  name: string
  /** Rejects with an Error that says what was promised and what was seen. */
  run: () => Promise<void>
}

const checks = { ...chatChecks, ...faultChecks, ...kvChecks, ...wireChecks } satisfies Record<string, Check>

/** Names of the checks. */
export type ContractCheckName = keyof typeof checks

/** Milliseconds for the probe of a check. */
const probeTimeoutMs = 5_000

/**
 * The contract of drivers (`Driver`, D1 to D4, and KV control that tells the truth) as checks.
 *
 * @example
 * for (const { name, run } of driverContract({ start })) test(name, run)
 */
export function driverContract({ start, exceptions = {} }: DriverContractOptions): ContractCheck[] {
  return (Object.keys(checks) as ContractCheckName[]).map((name) => {
    const reason = exceptions[name]
    return {
      name: reason === undefined ? name : `${name} (excepted: ${reason})`,
      run: () =>
        reason === undefined ? runCheck(start, checks[name]) : expectFailure(name, runCheck(start, checks[name])),
    }
  })
}

async function runCheck(start: DriverContractOptions['start'], check: Check): Promise<void> {
  const subject = await start()
  try {
    const { definition } = subject
    const clock = realClock({ seed: 1 })
    const driver = await definition.connect({ backend: 'checked', clock, log: silentLogger })
    try {
      const probe = await driver.probe(probeTimeoutMs)
      if (probe.state === 'unreachable') throw probe.error
      await check({ subject, driver, clock, model: definition.settings.model, capabilities: probe.capabilities })
    } finally {
      await driver.close()
    }
  } finally {
    await subject.close()
  }
}

async function expectFailure(name: string, run: Promise<void>): Promise<void> {
  const failed = await run.then(
    () => false,
    () => true,
  )
  if (!failed) throw new Error(`"${name}" is excepted, and passes: remove the exception`)
}
