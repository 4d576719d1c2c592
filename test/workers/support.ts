/** A worker file of this folder that misbehaves. */
export function fixture(name: string): URL {
  return new URL(`./fixtures/${name}.ts`, import.meta.url)
}

/** Distinct text of about `chars` characters. */
export function longText(chars: number, salt: number): string {
  let text = ''
  for (let i = 0; text.length < chars; i++) text += `Line ${i} of report ${salt}: the invoice was paid twice.\n`
  return text.slice(0, chars)
}
