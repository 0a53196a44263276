/** The chat panel. What is sent comes back from the server like everybody else's lines, in one order for all. */

import { byId, hue, make } from './dom';
import { dress, icon } from './icons';

/** Lines kept on the page. */
const MAX_LINES = 500;

export class Chat {
  private readonly panel = byId('chat');
  private readonly log = byId<HTMLOListElement>('chat-log');
  private readonly text = byId<HTMLInputElement>('chat-text');
  private readonly toggleButton = byId<HTMLButtonElement>('chat-toggle');
  private unread = 0;

  constructor(send: (text: string) => Promise<void>) {
    byId('chat-close').innerHTML = icon('close');
    byId('chat-close').addEventListener('click', () => this.toggle(false));
    byId<HTMLFormElement>('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.text.value.trim();
      if (!text) return;
      this.text.value = '';
      send(text).catch(() => {
        this.text.value = text;
        this.note('Not sent: the connection is down. Try again in a moment.');
      });
    });
    this.toggleButton.addEventListener('click', () => this.toggle());
    this.reset();
  }

  get isOpen(): boolean {
    return !this.panel.hidden;
  }

  toggle(open = !this.isOpen): void {
    const had = this.panel.contains(document.activeElement);
    this.panel.hidden = !open;
    if (open) {
      this.unread = 0;
      this.text.focus();
      this.log.scrollTop = this.log.scrollHeight;
    } else if (had) {
      this.toggleButton.focus();
    }
    this.dressButton();
  }

  add(name: string, text: string, own: boolean): void {
    const line = make('li', own ? 'own' : '');
    const who = make('b', '', own ? 'You' : name);
    who.style.setProperty('--hue', String(hue(name)));
    const time = make('time', '', new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
    const head = make('p', 'chat-head');
    head.append(who, time);
    line.append(head, make('p', 'chat-text', text));
    this.append(line);
    if (!this.isOpen && !own) {
      this.unread += 1;
      this.dressButton();
    }
  }

  note(text: string): void {
    this.append(make('li', 'note', text));
  }

  reset(): void {
    this.log.replaceChildren();
    this.unread = 0;
    this.panel.hidden = true;
    this.note('Lines are seen by everyone who is here now, and kept nowhere.');
    this.dressButton();
  }

  private append(line: HTMLLIElement): void {
    this.log.append(line);
    while (this.log.childElementCount > MAX_LINES) this.log.firstElementChild?.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }

  private dressButton(): void {
    const unread = this.unread ? `, ${this.unread} unread` : '';
    dress(this.toggleButton, 'chat', `${this.isOpen ? 'Close' : 'Open'} chat (c)${unread}`, 'Chat');
    this.toggleButton.setAttribute('aria-expanded', String(this.isOpen));
    if (this.unread) this.toggleButton.append(make('em', 'unread', this.unread > 9 ? '9+' : String(this.unread)));
  }
}
