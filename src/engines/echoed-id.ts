// Ids that some engines repeat in their answers: SGLang's `rid`, vLLM's `request_id` (its answer says `chatcmpl-<id>`).

/** What every id of ours begins with. */
const ours = 'orla-'

/**
 * An id for one request. None begins with another: the number comes before what may repeat, and ends in a mark.
 *
 * @param epochMs - now; keeps the ids of two processes apart
 * @param number - counts the driver's requests
 */
export function echoedId(epochMs: number, number: number, requestId: string): string {
  return `${ours}${epochMs.toString(36)}-${number};${requestId}`
}

/**
 * Whether an answer's id is that of another request of ours: a proxy has mixed up its clients. An id that is none of
 * ours says nothing, because gateways put in their own.
 */
export function namesAnother(answerId: string, sentId: string): boolean {
  const at = answerId.indexOf(ours)
  return at !== -1 && !answerId.startsWith(sentId, at)
}
