import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TurnoverMap } from '../../src/turnover-map.ts'

test('a map for what does not stay is like any map, whatever is done to it', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd')
  const step = fc.oneof(
    fc.record({ what: fc.constant('set' as const), key, value: fc.nat() }),
    fc.record({ what: fc.constantFrom('delete' as const, 'get' as const), key, value: fc.constant(0) }),
    fc.record({ what: fc.constant('clear' as const), key, value: fc.constant(0) }),
  )
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const map = new TurnoverMap<string, number>()
      const model = new Map<string, number>()
      for (const { what, key: at, value } of steps) {
        if (what === 'set') {
          expect(map.set(at, value)).toBe(map)
          model.set(at, value)
        } else if (what === 'clear') {
          map.clear()
          model.clear()
        } else if (what === 'delete') {
          expect(map.delete(at)).toBe(model.delete(at))
        }
        expect([map.get(at), map.has(at), map.size]).toEqual([model.get(at), model.has(at), model.size])
        expect([...map]).toEqual([...model])
        expect([...map.keys()]).toEqual([...model.keys()])
        expect([...map.values()]).toEqual([...model.values()])
      }
    }),
  )
})
