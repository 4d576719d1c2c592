// Rounds in which every subject is measured once, in alternating order: what disturbs the machine disturbs all of them.

/**
 * Measures every subject `rounds` times. Odd rounds go backwards.
 *
 * @returns for each subject, in the order given, its samples by round
 */
export async function alternate<Subject, Sample>(
  subjects: readonly Subject[],
  rounds: number,
  measure: (subject: Subject, round: number) => Promise<Sample>,
): Promise<Sample[][]> {
  const samples = subjects.map((): Sample[] => [])
  const forwards = [...subjects.keys()]
  for (let round = 0; round < rounds; round++) {
    for (const i of round % 2 === 0 ? forwards : forwards.toReversed()) {
      samples[i]!.push(await measure(subjects[i]!, round))
    }
  }
  return samples
}
