/** The tiles: one per camera or shared screen, and one for each person who only watches. */

import { hue, initials, make } from './dom';
import { icon } from './icons';

export interface TileState {
  name: string;
  isSelf: boolean;
  isScreen: boolean;
  /** Whether there is a track at all; a viewer has neither. */
  hasVideo: boolean;
  hasAudio: boolean;
  videoOn: boolean;
  audioOn: boolean;
}

const GAP = 10;
const WIDE = 16 / 9;
/** Narrower than this a face is no longer one: the grid scrolls instead. */
const MIN_WIDTH = 150;

export class Tile {
  readonly element = make('article', 'tile');
  readonly video = make('video');
  private readonly avatar = make('span', 'avatar');
  private readonly name = make('span', 'tile-name');
  private readonly badges = make('span', 'badges');

  constructor(readonly state: TileState) {
    this.video.playsInline = true;
    this.video.autoplay = true;
    this.video.muted = state.isSelf;
    const label = make('p', 'tile-label');
    label.append(this.badges, this.name);
    this.avatar.setAttribute('aria-hidden', 'true');
    this.element.append(this.video, this.avatar, label);
    this.update({});
  }

  update(change: Partial<TileState>): void {
    Object.assign(this.state, change);
    const { name, isSelf, isScreen, hasVideo, hasAudio, videoOn, audioOn } = this.state;
    const shown = isScreen ? `${isSelf ? 'Your' : `${name}'s`} screen` : `${name}${isSelf ? ' (you)' : ''}`;
    const viewer = !hasVideo && !hasAudio;
    const picture = hasVideo && videoOn;
    this.name.textContent = shown;
    this.avatar.textContent = initials(name);
    this.element.style.setProperty('--hue', String(hue(name)));
    this.element.classList.toggle('no-picture', !picture);
    this.element.classList.toggle('mirrored', isSelf && !isScreen);
    this.element.classList.toggle('screen', isScreen);
    this.badges.innerHTML = '';
    const notes: string[] = [];
    if (viewer && !isScreen) notes.push('watching');
    if (!viewer && !isScreen && !(hasAudio && audioOn)) {
      notes.push('muted');
      this.badges.insertAdjacentHTML('beforeend', `<i class="badge muted">${icon('mic-off')}</i>`);
    }
    if (!viewer && !isScreen && !picture) {
      notes.push('camera off');
      this.badges.insertAdjacentHTML('beforeend', `<i class="badge">${icon('cam-off')}</i>`);
    }
    this.element.setAttribute('aria-label', [shown, ...notes].join(', '));
    if (viewer && !isScreen) this.name.append(make('small', '', ' watching'));
  }

  resize(width: number, ratio: number): void {
    this.element.style.setProperty('--tile', `${Math.floor(width)}px`);
    this.element.style.setProperty('--ratio', String(ratio));
  }

  set speaking(on: boolean) {
    this.element.classList.toggle('speaking', on);
  }
}

export class Grid {
  private readonly tiles = new Map<string, Tile>();

  constructor(private readonly element: HTMLElement) {
    const lineBreak = make('i', 'line-break');
    lineBreak.setAttribute('aria-hidden', 'true');
    element.append(lineBreak);
    new ResizeObserver(() => this.layout()).observe(element);
  }

  add(id: string, state: TileState): Tile {
    this.remove(id);
    const tile = new Tile(state);
    this.tiles.set(id, tile);
    // Screens first, then oneself, then the others as they came.
    const rank = (t: Tile) => (t.state.isScreen ? 0 : t.state.isSelf ? 1 : 2);
    const after = [...this.tiles.values()].find((t) => t !== tile && rank(t) > rank(tile));
    this.element.insertBefore(tile.element, after?.element ?? null);
    this.layout();
    return tile;
  }

  get(id: string): Tile | undefined {
    return this.tiles.get(id);
  }

  remove(id: string): void {
    const tile = this.tiles.get(id);
    if (!tile) return;
    this.tiles.delete(id);
    tile.video.srcObject = null;
    tile.element.remove();
    this.layout();
  }

  clear(): void {
    for (const id of [...this.tiles.keys()]) this.remove(id);
  }

  private layout(): void {
    const style = getComputedStyle(this.element);
    const width = this.element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.element.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    if (!this.tiles.size || width <= 0 || height <= 0) return;
    const all = [...this.tiles.values()];
    const screens = all.filter((tile) => tile.state.isScreen);
    const people = all.filter((tile) => !tile.state.isScreen);
    // Faces may be cropped where the window is high; text on a screen may not.
    const ratio = width < height ? 1 : WIDE;
    // Beside a shared screen people make a strip of a quarter of the height.
    const strip = screens.length && people.length ? Math.max(90, height / 4) : 0;
    const room = screens.length ? strip : height;
    const peopleSize = fit(people.length, width, room, ratio);
    const crowded = peopleSize < MIN_WIDTH && !screens.length;
    const half = (width - GAP) / 2;
    for (const tile of people) tile.resize(crowded ? half : peopleSize, ratio);
    const screenSize = fit(screens.length, width, height - strip - 3 * GAP, WIDE);
    for (const tile of screens) tile.resize(screenSize, WIDE);
    this.element.classList.toggle('crowded', crowded);
    this.element.classList.toggle('presenting', strip > 0);
  }
}

/** The largest width at which this many tiles fit. */
function fit(count: number, width: number, height: number, ratio: number): number {
  let best = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - GAP * (columns - 1)) / columns;
    const down = ((height - GAP * (rows - 1)) / rows) * ratio;
    best = Math.max(best, Math.min(across, down));
  }
  return best;
}
