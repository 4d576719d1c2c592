// Words that are one token each: text of which only the length matters.

/** Common words that, with a space before them, are one token in current vocabularies (checked for o200k). */
const words =
  'the of and to in is that for it as with on be at by this have from or one all would there their what so up out if ' +
  'about who get which when make can like time no just him know take people into year your good some could them see ' +
  'other than then now look only come its over think also back after use two how our work first well way even new ' +
  'want because any these give day most us'
const table = words.split(' ').map((word) => ` ${word}`)

/** `to - from` tokens of filler text, from position `from` on. The same positions always give the same text. */
export function fillerText(from: number, to: number): string {
  let text = ''
  for (let i = from; i < to; i++) text += table[i % table.length]
  return text
}

/** `count` words with no space before the first, from position `from` on. */
export function fillerWords(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => table[(from + i) % table.length]!.slice(1))
}
