// Cancellations in mid-stream by the thousand. ORLA_STORM=full runs the whole campaign (npm run test:storm).

import { expect, test } from 'vitest'
import { cancellationStorm } from './storm-kit.ts'

const full = process.env['ORLA_STORM'] === 'full'
const [waves, size] = full ? [20, 500] : [3, 100]

test(`${waves} waves of ${size} cancellations end their runs, close their sockets and leave nothing behind`, async () => {
  const report = await cancellationStorm(waves, size)
  // oxlint-disable-next-line no-console -- the full campaign says what it measured
  if (full) console.log(JSON.stringify(report))
  expect(report).toMatchObject({
    cancelled: (waves + 1) * size,
    otherwise: 0,
    left: { engineSockets: 0, handles: 0, liveRuns: 0, inFlight: 0, warnings: [] },
  })
  expect(report.waveMsMax).toBeLessThan(2_000)
  // The figure of the campaign; a slice runs beside other tests on a busy machine.
  expect(report.closedMsP99).toBeLessThan(full ? 100 : 1_000)
}, 120_000)
