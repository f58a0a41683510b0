// @ts-check
// What several views need of time: a clock, and reads that are repeated while somebody looks.

import { useCallback, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { PAUSE_MAX, Refused, wait } from "./api.js";

/** Yields the time, again and again. @param {number} every in milliseconds */
export function useNow(every) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/**
 * Reads something at once and then after each pause, while the page is seen. A reading that fails
 * leaves what was read before.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} read
 * @param {number} every in milliseconds
 * @param {unknown[]} of what the reading depends on
 * @returns {{value: T | null, error: string, again: () => void}}
 */
export function useRead(read, every, of) {
  const [value, setValue] = useState(/** @type {T | null} */ (null));
  const [error, setError] = useState("");
  const wake = useRef(() => {});
  useEffect(() => {
    const stopped = new AbortController();
    const { signal } = stopped;
    (async () => {
      let pause = every;
      while (!signal.aborted) {
        try {
          if (!document.hidden) setValue(await read(signal));
          setError("");
          pause = every;
        } catch (failed) {
          if (signal.aborted) return;
          setError(failed instanceof Refused ? failed.message : String(failed));
          // A server that is away, or has too much to do, is asked less and less.
          pause = Math.max(every, Math.min(2 * pause, PAUSE_MAX));
        }
        await Promise.race([
          wait(pause, signal),
          new Promise((done) => (wake.current = () => done(undefined))),
        ]);
      }
    })();
    const seen = () => !document.hidden && wake.current();
    document.addEventListener("visibilitychange", seen);
    return () => {
      stopped.abort();
      document.removeEventListener("visibilitychange", seen);
    };
  }, of);
  return { value, error, again: useCallback(() => wake.current(), []) };
}

/**
 * Yields a value as it was when it has not changed for a moment: what somebody types is not asked
 * for letter by letter.
 * @template T
 * @param {T} value
 * @returns {T}
 */
export function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLED_AFTER);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

/** In milliseconds. */
const SETTLED_AFTER = 250;

/**
 * Does something that a button asks for, and says how it went.
 * @returns {[boolean, string, (act: () => Promise<string>) => Promise<void>]}
 */
export function useAct() {
  const [isBusy, setBusy] = useState(false);
  const [said, setSaid] = useState("");
  const act = async (/** @type {() => Promise<string>} */ what) => {
    setBusy(true);
    try {
      setSaid(await what());
    } catch (failed) {
      setSaid(failed instanceof Error ? failed.message : String(failed));
    }
    setBusy(false);
  };
  return [isBusy, said, act];
}
