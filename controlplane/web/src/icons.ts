/** Line icons on a 24 × 24 grid. */

const PATHS = {
  mic: 'M12 4a2.5 2.5 0 0 0-2.5 2.500v5a2.5 2.5 0 0 0 5 0v-5A2.5 2.5 0 0 0 12 4ZM6.5 11.500a5.5 5.5 0 0 0 11 0M12 17v3.500M9 20.500h6',
  'mic-off':
    'M14.5 9.500v-3a2.5 2.5 0 0 0-4.9-.7M9.5 9.500v2a2.5 2.5 0 0 0 4 2M6.5 11.500a5.5 5.5 0 0 0 8.8 4.400M17.2 13.300c.2-.6.3-1.2.3-1.800M12 17v3.500M9 20.500h6M4 4l16 16',
  cam: 'M4.5 7h8.500a1.5 1.5 0 0 1 1.5 1.500v7a1.5 1.5 0 0 1-1.5 1.500H4.500A1.5 1.5 0 0 1 3 15.500v-7A1.5 1.5 0 0 1 4.5 7ZM14.5 11l5.2-3.100c.6-.3 1.3.1 1.3.8v6.600c0 .7-.7 1.1-1.3.8L14.5 13',
  'cam-off':
    'M9.5 7H13a1.5 1.5 0 0 1 1.5 1.500V12M14.5 15.500A1.5 1.5 0 0 1 13 17H4.500A1.5 1.5 0 0 1 3 15.500v-7A1.5 1.5 0 0 1 4.5 7M14.5 11l5.2-3.100c.6-.3 1.3.1 1.3.8v6.600M4 4l16 16',
  screen: 'M4 5h16v11H4zM9 20h6M12 16v4M12 13V8.500M9.7 10.5 12 8.300l2.3 2.2',
  'screen-off': 'M4 5h16v11H4zM9 20h6M12 16v4M9.8 8.300l4.4 4.400M14.2 8.300l-4.4 4.4',
  chat: 'M5 5h14a1.5 1.5 0 0 1 1.5 1.500v8A1.5 1.5 0 0 1 19 16h-7l-4.5 3.800V16H5a1.5 1.5 0 0 1-1.5-1.500v-8A1.5 1.5 0 0 1 5 5ZM8 9.300h8M8 12.200h5',
  leave: 'M3.5 14.500c4.7-4.7 12.3-4.7 17 0l-2.6 2.4-3-1.700v-2.500c-1.9-.6-3.9-.6-5.8 0v2.500l-3 1.700z',
  link: 'M10 14a3.7 3.7 0 0 0 5.3 0l3-3A3.7 3.7 0 0 0 13 5.700l-1 1M14 10a3.7 3.7 0 0 0-5.3 0l-3 3A3.7 3.7 0 0 0 11 18.300l1-1',
  check: 'M5 12.5 10 17.5 19 7.5',
  close: 'M6 6l12 12M18 6 6 18',
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): string {
  return (
    '<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false" fill="none" stroke="currentColor" ' +
    `stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round"><path d="${PATHS[name]}"/></svg>`
  );
}

/** Gives a button its picture, its name for screen readers, and its visible word. */
export function dress(button: HTMLButtonElement, name: Icon, label: string, word = ''): void {
  button.innerHTML = icon(name);
  if (word) {
    const span = document.createElement('span');
    span.textContent = word;
    button.append(span);
  }
  button.setAttribute('aria-label', label);
  button.title = label;
}
