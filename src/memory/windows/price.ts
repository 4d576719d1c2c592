// placeholder
import { fits, type WindowPolicy } from '../window-policy.ts'
import { admitAlone, admitInOrder, roomOf } from './admit.ts'

/** Makes the policy. */
export function price(): WindowPolicy {
  return {
    name: 'price',
    tickMs: 1_000,
    enter: fits,
    review(view) {
      return {
        release: [],
        admit: [...admitInOrder(view.held.values(), roomOf(view), view.nowMs, 'stop'), ...admitAlone(view)],
      }
    },
  }
}
