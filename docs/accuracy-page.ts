// The page that says how close the engine model comes to published measurements.

import { bench } from '../bench/simulator-accuracy.ts'

/** The page as Markdown. Deterministic: it is made from the model, which uses no chance. */
export async function accuracyPage(): Promise<string> {
  const { rows, notes } = await bench.run({ quick: false })
  const table = rows.map(
    ({ point, fitted, publishedMs, simulatedMs, errorPercent, source }) =>
      `| ${point} | ${fitted === true ? 'fitted' : 'checked'} | ${publishedMs} | ${simulatedMs} | ${errorPercent} % | ${source} |`,
  )
  return [
    '# The engine model against published measurements',
    '',
    'Made by `npm run docs` from the figures of `npm run -s bench -- simulator-accuracy`. One set of constants for each GPU and',
    'engine was *fitted* on some points; the others were only *checked*. Figures without a published point on a GPU or engine',
    'say so in the docstrings of `src/simulator/presets`.',
    '',
    '| point | | published ms | simulated ms | error | source |',
    '|---|---|---|---|---|---|',
    ...table,
    '',
    ...notes.map((note) => `- ${note}`),
    '',
  ].join('\n')
}
