// Child processes that benches ask things, so that nothing that is measured disturbs another's heap or compiled code.

import { fork } from 'node:child_process'

/** A child process that answers one question at a time. */
export interface Child<Question, Answer> {
  /** Rejects with what the child threw, or when it ends. */
  ask(question: Question): Promise<Answer>
  /** Ends the process; resolves once it is gone. */
  close(): Promise<void>
}

type Reply = { ok: true; answer: unknown } | { ok: false; message: string }

/** How long a child may take to end by itself, ms. */
const endsWithinMs = 5_000

/**
 * Starts `entry`, which calls {@link answer}, with garbage collection exposed.
 *
 * @param args - what the child finds in `process.argv` from index 2 on
 * @param options.silent - its standard output and error go nowhere: some programs that are measured write logs
 */
export function startChild<Question extends object, Answer>(
  entry: URL,
  args: readonly string[] = [],
  { silent = false }: { silent?: boolean } = {},
): Child<Question, Answer> {
  const child = fork(entry, args, {
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning'],
    stdio: silent ? ['ignore', 'ignore', 'ignore', 'ipc'] : ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    ask: (question) =>
      new Promise((resolve, reject) => {
        const settle = (): void => {
          child.off('message', onMessage)
          child.off('exit', onExit)
        }
        const onMessage = (message: unknown): void => {
          settle()
          const reply = message as Reply
          if (reply.ok) resolve(reply.answer as Answer)
          else reject(new Error(reply.message))
        }
        const onExit = (code: number | null, signal: string | null): void => {
          settle()
          reject(new Error(`${entry.pathname} ended with ${code ?? signal} before it answered`))
        }
        child.once('message', onMessage)
        child.once('exit', onExit)
        child.send(question)
      }),
    async close() {
      if (child.connected) child.disconnect()
      const timer = setTimeout(() => child.kill('SIGKILL'), endsWithinMs)
      await gone
      clearTimeout(timer)
    },
  }
}

/** In the child: answers every question of the parent, and ends when the parent lets go. */
export function answer<Question, Answer>(how: (question: Question) => Promise<Answer>): void {
  process.on('message', (question) => {
    how(question as Question).then(
      (found) => process.send!({ ok: true, answer: found } satisfies Reply),
      (error: unknown) =>
        process.send!({ ok: false, message: error instanceof Error ? error.message : String(error) } satisfies Reply),
    )
  })
  process.on('disconnect', () => process.exit())
}
