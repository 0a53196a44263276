/** Puts the page together: lobby, call, chat, and the keys that work in a call. */

import { Call } from './call';
import { Chat } from './chat';
import { announce, byId } from './dom';
import { joinTrouble, screenTrouble, show, type Trouble } from './errors';
import { Grid } from './grid';
import { dress } from './icons';
import { Lobby, type Choice } from './lobby';

const button = (id: string) => byId<HTMLButtonElement>(id);
const grid = new Grid(byId('grid'));
const chat = new Chat(async (text) => call?.say(text));
const lobby = new Lobby((choice) => void join(choice));
let call: Call | undefined;
let noticeTimer = 0;

async function join(choice: Choice): Promise<void> {
  const submit = button('join');
  submit.disabled = true;
  submit.textContent = 'Joining…';
  show(byId('lobby-error'), undefined);
  const joining = new Call(choice, grid, {
    count: (people) => (byId('count').textContent = people === 1 ? 'only you' : `${people} people`),
    chat: (name, text, own) => chat.add(name, text, own),
    joined: (name) => announce(`${name} joined`),
    left: (name) => announce(`${name} left`),
    status,
    ended: (reason) => back({ title: 'The call ended', remedy: reason }),
    changed: controls,
  });
  try {
    byId('call-room').textContent = choice.room;
    lobby.close();
    byId('call').hidden = false;
    call = joining;
    controls();
    await joining.join();
    history.replaceState(null, '', link(choice.room));
    document.title = `${choice.room} – Millrace`;
    button('mic').focus();
  } catch (error) {
    joining.leave();
    back(joinTrouble(error));
  } finally {
    submit.disabled = false;
    submit.textContent = 'Join';
  }
}

/** Back to the lobby, with the reason if there is one. */
function back(trouble?: Trouble): void {
  call = undefined;
  grid.clear();
  chat.reset();
  status('');
  document.title = 'Millrace';
  byId('call').hidden = true;
  byId('count').textContent = '';
  show(byId('lobby-error'), trouble);
  void lobby.open();
}

function status(text: string): void {
  clearTimeout(noticeTimer);
  byId('banner').hidden = !text;
  byId('banner').textContent = text;
}

/** A line that goes away by itself. */
function notice(trouble: Trouble): void {
  status(`${trouble.title}. ${trouble.remedy}`);
  noticeTimer = window.setTimeout(() => status(''), 8000);
}

function controls(): void {
  const mic = call?.micOn;
  const cam = call?.camOn;
  dress(button('mic'), mic ? 'mic' : 'mic-off', mic === undefined ? 'No microphone' : mic ? 'Mute (m)' : 'Unmute (m)', mic === false ? 'Unmute' : 'Mute');
  dress(button('cam'), cam ? 'cam' : 'cam-off', cam === undefined ? 'No camera' : cam ? 'Turn camera off (v)' : 'Turn camera on (v)', 'Camera');
  const sharing = call?.sharing ?? false;
  dress(button('screen'), sharing ? 'screen-off' : 'screen', sharing ? 'Stop sharing (s)' : 'Share screen (s)', sharing ? 'Stop' : 'Share');
  button('mic').disabled = mic === undefined;
  button('cam').disabled = cam === undefined;
  // Phones have no screen to give.
  button('screen').hidden = !('getDisplayMedia' in (navigator.mediaDevices ?? {}));
  button('mic').classList.toggle('off', mic === false);
  button('cam').classList.toggle('off', cam === false);
  button('screen').classList.toggle('on', sharing);
  button('mic').setAttribute('aria-pressed', String(mic === true));
  button('cam').setAttribute('aria-pressed', String(cam === true));
  button('screen').setAttribute('aria-pressed', String(sharing));
}

function link(room: string): string {
  return `${location.pathname}?room=${encodeURIComponent(room)}`;
}

function toggleMic(): void {
  call?.toggleMic();
  announce(call?.micOn ? 'Microphone on' : 'Microphone muted');
}

async function toggleCam(): Promise<void> {
  try {
    await call?.toggleCam();
    announce(call?.camOn ? 'Camera on' : 'Camera off');
  } catch {
    notice({ title: 'The camera did not come back', remedy: 'Another program may use it. Close that and try again.' });
  }
}

async function toggleScreen(): Promise<void> {
  const share = button('screen');
  if (share.disabled) return;
  share.disabled = true;
  try {
    await call?.toggleScreen();
  } catch (error) {
    const trouble = screenTrouble(error);
    if (trouble) notice(trouble);
  } finally {
    share.disabled = false;
  }
}

async function copyLink(): Promise<void> {
  const url = new URL(link(byId('call-room').textContent ?? ''), location.href).href;
  try {
    await navigator.clipboard.writeText(url);
    dress(button('copy-link'), 'check', 'Link copied', 'Copied');
    announce('Link copied');
  } catch {
    notice({ title: 'The link could not be copied', remedy: url });
  }
  window.setTimeout(() => dress(button('copy-link'), 'link', 'Copy the link to this room', 'Copy link'), 2000);
}

dress(button('leave'), 'leave', 'Leave the call', 'Leave');
dress(button('copy-link'), 'link', 'Copy the link to this room', 'Copy link');
button('mic').addEventListener('click', toggleMic);
button('cam').addEventListener('click', () => void toggleCam());
button('screen').addEventListener('click', () => void toggleScreen());
button('copy-link').addEventListener('click', () => void copyLink());
button('leave').addEventListener('click', () => {
  call?.leave();
  back();
});

document.addEventListener('keydown', (event) => {
  if (!call || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === 'Escape' && chat.isOpen) return chat.toggle(false);
  if (event.target instanceof HTMLInputElement) return;
  switch (event.key.toLowerCase()) {
    case 'm':
      return toggleMic();
    case 'v':
      return void toggleCam();
    case 's':
      return void toggleScreen();
    case 'c':
      event.preventDefault();
      return chat.toggle();
  }
});

window.addEventListener('pagehide', () => call?.leave());
void lobby.open();
