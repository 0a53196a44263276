/** What can go wrong, in words that say what to do about it. */

export interface Trouble {
  title: string;
  remedy: string;
}

export class TroubleError extends Error {
  constructor(readonly trouble: Trouble) {
    super(trouble.title);
  }
}

/** Why the camera or the microphone did not come. */
export function mediaTrouble(error: unknown): Trouble {
  if (!window.isSecureContext) {
    return {
      title: 'This browser gives no camera to pages without TLS',
      remedy: 'Open the page by https://, or by http://localhost on the same machine. You can still join and watch.',
    };
  }
  switch (nameOf(error)) {
    case 'NotAllowedError':
    case 'DEVICE_ACCESS_DENIED':
    case 'PermissionDeniedError':
      return {
        title: 'The browser did not allow the camera or microphone',
        remedy: 'Allow both for this page (the icon beside the address), then reload. You can still join and watch.',
      };
    case 'NotFoundError':
    case 'INPUT_VIDEO_DEVICE_NOT_FOUND':
    case 'INPUT_AUDIO_DEVICE_NOT_FOUND':
      return { title: 'No camera or microphone found', remedy: 'Plug one in and reload, or join and watch.' };
    case 'NotReadableError':
    case 'DEVICE_ALREADY_IN_USE':
      return {
        title: 'The camera or microphone is in use',
        remedy: 'Close the other program or tab that uses it, then reload. You can still join and watch.',
      };
    default:
      return { title: 'No camera or microphone', remedy: `${textOf(error)}. You can still join and watch.` };
  }
}

/** Why the screen could not be shared; nothing when the person chose not to. */
export function screenTrouble(error: unknown): Trouble | undefined {
  const name = nameOf(error);
  if (name === 'SCREEN_CAPTURE_DENIED' || name === 'NotAllowedError') return undefined;
  if (name === 'SCREEN_SHARING_NOT_SUPPORTED') {
    return { title: 'This browser cannot share the screen', remedy: 'Use a desktop browser to share.' };
  }
  return { title: 'The screen could not be shared', remedy: textOf(error) };
}

/** Why joining failed. */
export function joinTrouble(error: unknown): Trouble {
  if (error instanceof TroubleError) return error.trouble;
  const code = (error as { code?: number } | null)?.code;
  if (code === 401 || code === 403 || code === 104) {
    return {
      title: 'The server refused the token',
      remedy: 'Tokens work once. Join again; if it stays, the server may have another secret than the one that made it.',
    };
  }
  return {
    title: 'The call could not be joined',
    remedy: `${textOf(error)}. Check that the signalling port of the server is reachable from here.`,
  };
}

export function show(element: HTMLElement, trouble: Trouble | undefined): void {
  element.replaceChildren();
  element.hidden = !trouble;
  if (!trouble) return;
  const title = document.createElement('strong');
  title.textContent = trouble.title;
  const remedy = document.createElement('span');
  remedy.textContent = trouble.remedy;
  element.append(title, remedy);
}

function nameOf(error: unknown): string {
  return (error as { name?: string } | null)?.name ?? '';
}

function textOf(error: unknown): string {
  const text = (error as { message?: string } | null)?.message ?? String(error);
  return text.replace(/\.$/, '');
}
