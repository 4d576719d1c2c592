// Asking which ticket to use.

import type { Sample } from './support.ts'

const typed = Symbol('typed')

/**
 * Asks for a sample ticket or a text of the person's own. Enter takes the first sample.
 *
 * @returns the text, or undefined if the person wants out
 */
export async function chooseTicket(samples: readonly Sample[]): Promise<string | undefined> {
  const { isCancel, select, text } = await import('@clack/prompts')
  const choice = await select<Sample | typeof typed>({
    message: 'Which ticket shall the workflow handle?',
    options: [
      ...samples.map((sample) => ({ value: sample, label: sample.id, hint: sample.title })),
      { value: typed, label: 'write one', hint: 'in your own words' },
    ],
  })
  if (isCancel(choice)) return undefined
  if (choice !== typed) return choice.text
  const written = await text({
    message: 'What does the customer say?',
    placeholder: 'I was charged twice for my Pro plan, please refund one of the charges.',
    validate: (value) => ((value ?? '').trim() === '' ? 'Write a few words.' : undefined),
  })
  return isCancel(written) ? undefined : written
}
