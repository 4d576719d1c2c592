// Cost of the two-level queue: one request in, one out, at a steady number of waiting requests.
//
// Beside it, in the same run and over the same views, stand the raw primitives: a plain array as FIFO, a binary heap
// that knows neither ids nor classes, and a map from request id to view. The map does O(1) work however much waits, so
// what it slows down by when more waits is the price of memory alone; growth beyond that is the price of the order.

import { fcfs } from '../src/scheduling/fcfs.ts'
import { IndexedHeap, type HeapItem } from '../src/scheduling/heap.ts'
import type { PickPolicy, SchedulingPolicies, SchedulingPolicy } from '../src/scheduling/policy.ts'
import { priority } from '../src/scheduling/priority.ts'
import type { RequestView } from '../src/scheduling/request-view.ts'
import { shortestFirst } from '../src/scheduling/shortest-first.ts'
import { SubQueues } from '../src/scheduling/sub-queues.ts'
import type { Bench, BenchReport, Row } from './lib/bench.ts'
import { measureUsPerOp, round, spreadOf, type Timing } from './lib/measure.ts'

/** Highest response ratio next: what a pick policy costs that does a little arithmetic for each candidate. */
const hrrn: PickPolicy = {
  name: 'hrrn (pick)',
  pick(candidates, nowMs) {
    let best = 0
    let bestRatio = -Infinity
    for (let i = 0; i < candidates.length; i++) {
      const { arrivalMs, uncachedTokens, outputTokens } = candidates[i]!
      const serviceMs = uncachedTokens * 0.1 + outputTokens * 20
      const ratio = (nowMs - arrivalMs + serviceMs) / serviceMs
      if (ratio <= bestRatio) continue
      best = i
      bestRatio = ratio
    }
    return best
  },
}

/** What all structures under measurement can do. */
interface Queue {
  enqueue(view: RequestView): void
  next(nowMs: number): RequestView | undefined
}

/** A plain array as a FIFO. */
function arrayFifo(): Queue {
  const views: RequestView[] = []
  return { enqueue: (view) => void views.push(view), next: () => views.shift() }
}

/** A map by request id, in order of insertion: O(1) for each operation, so that only memory makes it slower. */
function idMap(): Queue & { take(requestId: string): boolean } {
  const views = new Map<string, RequestView>()
  return {
    enqueue: (view) => void views.set(view.requestId, view),
    next: () => undefined,
    take: (requestId) => views.delete(requestId),
  }
}

/** A textbook binary heap: objects ordered by a key, no handles, no ids, no classes. */
function binaryHeap(keyOf: (view: RequestView) => number): Queue {
  const items: { key: number; view: RequestView }[] = []
  return {
    enqueue(view) {
      const item = { key: keyOf(view), view }
      let hole = items.push(item) - 1
      while (hole > 0) {
        const parent = (hole - 1) >> 1
        if (items[parent]!.key <= item.key) break
        items[hole] = items[parent]!
        hole = parent
      }
      items[hole] = item
    },
    next() {
      const top = items[0]
      const last = items.pop()
      const size = items.length
      if (top === undefined || last === undefined || size === 0) return top?.view
      let hole = 0
      for (let child = 1; child < size; child = 2 * hole + 1) {
        if (child + 1 < size && items[child + 1]!.key < items[child]!.key) child++
        if (items[child]!.key >= last.key) break
        items[hole] = items[child]!
        hole = child
      }
      items[hole] = last
      return top.view
    },
  }
}

/** Numbers that look random and are the same in every run (a 32-bit linear congruential generator). */
function generator(): (below: number) => number {
  let state = 12_345
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** `count` requests spread over `subQueues` classes, 1 ms apart. */
function makeViews(count: number, subQueues: number): RequestView[] {
  const random = generator()
  const hashed = new Set<string>()
  const views = Array.from({ length: count }, (_, i): RequestView => {
    const requestId = `run-${i}-k3f9/stage/1.1`
    // Hashes the id now: in the runtime an id has been a key elsewhere before it gets here.
    hashed.add(requestId)
    return {
      requestId,
      runId: `run-${i}-k3f9`,
      stageClass: `workflow/stage-${i < subQueues ? i : random(subQueues)}`,
      tenant: 'tenant',
      arrivalMs: i,
      arrivalOrder: i,
      stagePriority: random(10),
      requestPriority: random(10),
      promptTokens: 50 + random(8_000),
      uncachedTokens: 50 + random(2_000),
      outputTokens: 20 + random(400),
      askedTokens: 420,
      serviceMs: 0,
      remainingMs: 0,
      runStartedAtMs: i,
      attainedTokens: 0,
      deadlineMs: Infinity,
    }
  })
  return views
}

/** Fills a queue, then times pairs of one enqueue and one next. */
function timePairs(views: readonly RequestView[], waiting: number, makeQueue: () => Queue): Timing {
  const operations = views.length - waiting
  return measureUsPerOp(
    () => {
      const queue = makeQueue()
      for (let i = 0; i < waiting; i++) queue.enqueue(views[i]!)
      return queue
    },
    (queue) => {
      for (let i = waiting; i < views.length; i++) {
        queue.enqueue(views[i]!)
        queue.next(i)
      }
    },
    { operations },
  )
}

/** The same for withdrawals: one request in, one out from anywhere. */
function timeWithdrawals(views: readonly RequestView[], waiting: number, policies: SchedulingPolicies): Timing {
  return measureUsPerOp(
    () => {
      const queue = new SubQueues(policies)
      for (let i = 0; i < waiting; i++) queue.enqueue(views[i]!)
      return { queue, order: shuffledWindow(views, waiting) }
    },
    ({ queue, order }) => {
      for (let i = waiting; i < views.length; i++) {
        queue.enqueue(views[i]!)
        queue.withdraw(order[i - waiting]!)
      }
    },
    { operations: views.length - waiting },
  )
}

/** Ids to take out, one after each enqueue: always one that waits, from a random place. */
function shuffledWindow(views: readonly RequestView[], waiting: number): string[] {
  const random = generator()
  const inQueue = views.slice(0, waiting).map((view) => view.requestId)
  return views.slice(waiting).map((view) => {
    const at = random(inQueue.length)
    const requestId = inQueue[at]!
    inQueue[at] = view.requestId
    return requestId
  })
}

function timeIdMap(views: readonly RequestView[], waiting: number): Timing {
  return measureUsPerOp(
    () => {
      const map = idMap()
      for (let i = 0; i < waiting; i++) map.enqueue(views[i]!)
      return { map, order: shuffledWindow(views, waiting) }
    },
    ({ map, order }) => {
      for (let i = waiting; i < views.length; i++) {
        map.enqueue(views[i]!)
        map.take(order[i - waiting]!)
      }
    },
    { operations: views.length - waiting },
  )
}

const keyed: SchedulingPolicy[] = [fcfs(), priority(), shortestFirst()]

/** Requests that a pick at level 2 may look at in all; beyond, one repetition takes seconds. */
const pickCandidatesMax = 1_000

function run(options: { quick: boolean }): BenchReport {
  const sizes = options.quick ? [10, 1_000] : [10, 1_000, 100_000]
  const pairs = options.quick ? 5_000 : 100_000
  const rows: Row[] = []
  const timings = new Map<string, Timing>()

  for (const waiting of sizes) {
    const add = (name: string, subQueues: number, policy: string, timing: Timing): void => {
      timings.set(`${name} ${policy} ${subQueues} ${waiting}`, timing)
      const raw = timings.get(`binary heap sjf 1 ${waiting}`) ?? timing
      rows.push({
        case: name,
        waiting,
        subQueues,
        policy,
        usPerOp: round(timing.median),
        spread: spreadOf(timing),
        ratioToRaw: round(timing.median / raw.median),
      })
    }
    const flat = makeViews(waiting + pairs, 1)
    const sjf = shortestFirst()
    const heapTiming = timePairs(flat, waiting, () => binaryHeap((view) => sjf.key(view, 'request')))
    add('binary heap', 1, 'sjf', heapTiming)
    // A shift moves the whole array: fewer pairs where that is long.
    add(
      'array fifo',
      1,
      'fcfs',
      timePairs(flat.slice(0, waiting + pairs / (waiting > 10_000 ? 20 : 1)), waiting, arrayFifo),
    )
    add('id map', 1, '-', timeIdMap(flat, waiting))

    for (const subQueues of [1, 100, 10_000].filter((count) => count <= waiting)) {
      const views = subQueues === 1 ? flat : makeViews(waiting + pairs, subQueues)
      for (const policy of keyed) {
        const policies = { stage: policy, request: policy }
        add(
          'sub-queues',
          subQueues,
          policy.name,
          timePairs(views, waiting, () => new SubQueues(policies)),
        )
      }
      const atStages = { stage: hrrn, request: fcfs() }
      if (subQueues > 1 && subQueues <= pickCandidatesMax) {
        const some = views.slice(0, waiting + pairs / 10)
        add(
          'sub-queues, level 1',
          subQueues,
          hrrn.name,
          timePairs(some, waiting, () => new SubQueues(atStages)),
        )
      }
      const atRequests = { stage: fcfs(), request: hrrn }
      if (waiting <= pickCandidatesMax) {
        const some = views.slice(0, waiting + pairs / 20)
        add(
          'sub-queues, level 2',
          subQueues,
          hrrn.name,
          timePairs(some, waiting, () => new SubQueues(atRequests)),
        )
      }
      const policies = { stage: sjf, request: sjf }
      add('withdrawals', subQueues, 'sjf', timeWithdrawals(views, waiting, policies))
    }
  }
  return { rows, notes: options.quick ? [] : [growthNote(timings)] }
}

/** Comparisons of one push and one pop in an indexed heap of that size. Counted, so no cache has a say in it. */
function comparisonsPerPair(size: number): number {
  const random = generator()
  let idReads = 0
  // All keys and arrivals are equal: every comparison comes down to reading two ids.
  const makeItem = (): HeapItem => {
    const id = random(2 ** 31)
      .toString()
      .padStart(10, '0')
    return {
      arrivalOrder: 0,
      position: -1,
      get requestId() {
        idReads++
        return id
      },
    }
  }
  const heap = new IndexedHeap<HeapItem>()
  for (let i = 0; i < size; i++) heap.push(makeItem(), 0)
  const pairs = 2_000
  idReads = 0
  for (let i = 0; i < pairs; i++) {
    heap.push(makeItem(), 0)
    heap.pop()
  }
  return idReads / 2 / pairs
}

/**
 * How costs grow from 1,000 to 100,000 waiting, beside the logarithm.
 *
 * Of the fastest repetitions: a quotient of medians says as much about the neighbours as about the queue.
 */
function growthNote(timings: ReadonlyMap<string, Timing>): string {
  const growth = (name: string, policy: string, subQueues: number): number =>
    timings.get(`${name} ${policy} ${subQueues} 100000`)!.min / timings.get(`${name} ${policy} ${subQueues} 1000`)!.min
  const few = comparisonsPerPair(1_000)
  const many = comparisonsPerPair(100_000)
  const logGrowth = Math.log(100_000) / Math.log(1_000)
  const memory = growth('id map', '-', 1)
  const lines = [
    `Growth from 1,000 to 100,000 waiting (log n: ${round(logGrowth)}-fold)`,
    `  comparisons a pair   ${round(few)} to ${round(many)}: ${round(many / few)}-fold, ${many / few <= logGrowth ? 'no faster' : 'FASTER'} than log n`,
    `  time, fastest repetitions; an O(1) map by request id, which only caches slow down, grows ${round(memory)}-fold:`,
    `    binary heap               ${round(growth('binary heap', 'sjf', 1))}-fold`,
  ]
  for (const subQueues of [1, 100]) {
    for (const { name } of keyed) {
      const whole = growth('sub-queues', name, subQueues)
      const label = `${name}, ${subQueues} sub-queue${subQueues === 1 ? '' : 's'}`.padEnd(25)
      lines.push(`    ${label} ${round(whole)}-fold, ${round(whole / memory)} times the map's`)
    }
  }
  return lines.join('\n')
}

/** The bench of the two-level queue. */
export const bench: Bench = { run }
