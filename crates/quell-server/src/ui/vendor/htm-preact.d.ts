// What the page uses of htm-preact.js: Preact with hooks, and htm for templates.
export type Ref<T> = { current: T };
export type Set<T> = (value: T | ((before: T) => T)) => void;
export function html(strings: TemplateStringsArray, ...values: unknown[]): any;
export function render(what: unknown, where: Element): void;
export function useState<T>(initial: T | (() => T)): [T, Set<T>];
export function useRef<T>(initial: T): Ref<T>;
export function useMemo<T>(make: () => T, of: unknown[]): T;
export function useCallback<T>(what: T, of: unknown[]): T;
export function useEffect(what: () => unknown, of?: unknown[]): void;
