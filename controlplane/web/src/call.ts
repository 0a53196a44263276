/** A call by openvidu-browser, as applications use it: one session for oneself, a second one for the shared screen. */

import { OpenVidu, type Connection, type Publisher, type Session, type Stream, type StreamManager } from 'openvidu-browser';

import { requestToken } from './api';
import type { Grid, TileState } from './grid';
import type { Choice } from './lobby';

/** What the page is told. */
export interface CallEvents {
  /** Somebody came or went, oneself included in the count. */
  count(people: number): void;
  chat(name: string, text: string, own: boolean): void;
  joined(name: string): void;
  left(name: string): void;
  /** A passing state of the connection; empty when all is well. */
  status(text: string): void;
  /** The call ended without `leave`. */
  ended(reason: string): void;
  /** The own microphone, camera or screen changed. */
  changed(): void;
}

interface Meta {
  clientData: string;
  /** Connection id of the person whose screen this is. */
  screenOf?: string;
}

export class Call {
  private readonly openvidu = new OpenVidu();
  private readonly session: Session = this.openvidu.initSession();
  private publisher: Publisher | undefined;
  private screen: { session: Session; publisher: Publisher } | undefined;
  private readonly people = new Map<string, string>();
  private leaving = false;

  constructor(
    private readonly choice: Choice,
    private readonly grid: Grid,
    private readonly events: CallEvents,
  ) {
    this.openvidu.enableProdMode();
    this.listen();
  }

  /** Joins and publishes what there is. */
  async join(): Promise<void> {
    const { name, room, audio, video } = this.choice;
    const token = await requestToken(room, name);
    await this.session.connect(token, { clientData: name } satisfies Meta);
    if (audio || video) {
      const publisher = await this.openvidu.initPublisherAsync(undefined, {
        audioSource: audio ?? false,
        videoSource: video ?? false,
        publishAudio: this.choice.audioOn,
        publishVideo: this.choice.videoOn,
        mirror: false,
      });
      this.publisher = publisher;
      this.show(this.session.connection, publisher, publisher.stream, true);
      await this.session.publish(publisher);
    }
    this.events.changed();
  }

  leave(): void {
    this.leaving = true;
    this.stopScreen();
    this.session.disconnect();
    for (const track of [this.choice.audio, this.choice.video]) track?.stop();
    this.grid.clear();
  }

  get micOn(): boolean | undefined {
    return this.publisher?.stream.hasAudio ? this.publisher.stream.audioActive : undefined;
  }

  get camOn(): boolean | undefined {
    return this.publisher?.stream.hasVideo ? this.publisher.stream.videoActive : undefined;
  }

  get sharing(): boolean {
    return this.screen !== undefined;
  }

  toggleMic(): void {
    if (this.micOn === undefined) return;
    this.publisher?.publishAudio(!this.micOn);
    this.refreshSelf();
  }

  async toggleCam(): Promise<void> {
    if (this.camOn === undefined) return;
    // The second argument frees the camera, so that its light goes out.
    if (this.camOn) await this.publisher?.publishVideo(false, true);
    else await this.publisher?.publishVideo(true);
    this.refreshSelf();
  }

  /** Starts or stops sharing the screen. */
  async toggleScreen(): Promise<void> {
    if (this.screen) return this.stopScreen();
    const openvidu = new OpenVidu();
    openvidu.enableProdMode();
    const session = openvidu.initSession();
    const properties = { videoSource: 'screen', audioSource: false, mirror: false } as const;
    const publisher = await openvidu.initPublisherAsync(undefined, properties);
    try {
      const token = await requestToken(this.choice.room, this.choice.name);
      const meta: Meta = { clientData: this.choice.name, screenOf: this.session.connection.connectionId };
      await session.connect(token, meta);
      await session.publish(publisher);
    } catch (error) {
      publisher.stream.disposeMediaStream();
      session.disconnect();
      throw error;
    }
    this.screen = { session, publisher };
    // The browser has its own button to end sharing.
    publisher.stream.getMediaStream().getVideoTracks()[0]?.addEventListener('ended', () => this.stopScreen());
    this.show(this.session.connection, publisher, publisher.stream, true);
    this.events.changed();
  }

  async say(text: string): Promise<void> {
    await this.session.signal({ type: 'chat', data: text });
  }

  private stopScreen(): void {
    if (!this.screen) return;
    const { session, publisher } = this.screen;
    this.screen = undefined;
    this.grid.remove(tileId(publisher.stream));
    session.disconnect();
    this.events.changed();
  }

  private listen(): void {
    const { session } = this;
    session.on('connectionCreated', ({ connection }) => {
      const meta = metaOf(connection);
      if (meta.screenOf) return;
      this.people.set(connection.connectionId, meta.clientData);
      this.events.count(this.people.size);
      if (connection.connectionId !== session.connection?.connectionId) this.events.joined(meta.clientData);
      this.showWatching(connection.connectionId);
    });
    session.on('connectionDestroyed', ({ connection }) => {
      const name = this.people.get(connection.connectionId);
      this.grid.remove(connection.connectionId);
      if (name === undefined || !this.people.delete(connection.connectionId)) return;
      this.events.count(this.people.size);
      if (!this.leaving) this.events.left(name);
    });
    session.on('streamCreated', ({ stream }) => {
      // The own screen is shown from its source, not over the server.
      if (metaOf(stream.connection).screenOf === session.connection.connectionId) return;
      const subscriber = session.subscribe(stream, undefined);
      this.show(stream.connection, subscriber, stream, false);
    });
    session.on('streamDestroyed', ({ stream }) => {
      this.grid.remove(tileId(stream));
      this.showWatching(stream.connection.connectionId);
    });
    session.on('streamPropertyChanged', ({ stream }) => {
      this.grid.get(tileId(stream))?.update({ audioOn: stream.audioActive, videoOn: stream.videoActive });
      this.events.changed();
    });
    session.on('publisherStartSpeaking', (event) => this.speaking(event.connection.connectionId, true));
    session.on('publisherStopSpeaking', (event) => this.speaking(event.connection.connectionId, false));
    session.on('signal:chat', (event) => {
      const from = event.from?.connectionId ?? '';
      const own = from === session.connection.connectionId;
      this.events.chat(this.people.get(from) ?? 'Server', event.data ?? '', own);
    });
    session.on('reconnecting', () => this.events.status('Connection lost. Trying to get back…'));
    session.on('reconnected', () => this.events.status(''));
    session.on('exception', (event) => {
      if (event.name === 'ICE_CONNECTION_FAILED' || event.name === 'ICE_CONNECTION_DISCONNECTED') {
        this.events.status('No media comes through. A firewall may block UDP to the server’s media port.');
      }
    });
    session.on('sessionDisconnected', (event) => {
      if (!this.leaving) this.ended(event.reason);
    });
  }

  private ended(reason: string): void {
    this.leave();
    const reasons: Record<string, string> = {
      networkDisconnect: 'The connection to the server was lost and did not come back.',
      forceDisconnectByUser: 'A moderator removed you from the call.',
      forceDisconnectByServer: 'The server removed you from the call.',
      sessionClosedByServer: 'The server closed the call.',
      openviduServerStopped: 'The server was stopped. It may be back in a moment.',
      nodeCrashed: 'The media server went down.',
    };
    this.events.ended(reasons[reason] ?? `The call ended (${reason}).`);
  }

  private show(connection: Connection, manager: StreamManager, stream: Stream, isSelf: boolean): void {
    const meta = metaOf(connection);
    const isScreen = stream.typeOfVideo === 'SCREEN';
    const state: TileState = {
      name: meta.clientData,
      isSelf,
      isScreen,
      hasVideo: stream.hasVideo,
      hasAudio: stream.hasAudio,
      videoOn: stream.videoActive,
      audioOn: stream.audioActive,
    };
    this.grid.remove(connection.connectionId);
    const tile = this.grid.add(tileId(stream), state);
    manager.addVideoElement(tile.video);
    tile.video.muted = isSelf;
  }

  /** A tile for who publishes nothing (yet). */
  private showWatching(connectionId: string): void {
    const name = this.people.get(connectionId);
    const streams = [...this.streamsOf(connectionId)];
    if (name === undefined || streams.length) return;
    const isSelf = connectionId === this.session.connection?.connectionId;
    if (isSelf && (this.choice.audio || this.choice.video)) return;
    this.grid.add(connectionId, {
      name,
      isSelf,
      isScreen: false,
      hasVideo: false,
      hasAudio: false,
      videoOn: false,
      audioOn: false,
    });
  }

  private *streamsOf(connectionId: string): Iterable<Stream> {
    for (const manager of this.session.streamManagers) {
      if (manager.stream.connection?.connectionId === connectionId && this.grid.get(tileId(manager.stream))) {
        yield manager.stream;
      }
    }
  }

  private speaking(connectionId: string, on: boolean): void {
    for (const stream of this.streamsOf(connectionId)) {
      const tile = this.grid.get(tileId(stream));
      if (tile) tile.speaking = on;
    }
    const own = this.publisher && connectionId === this.session.connection.connectionId;
    const tile = own ? this.grid.get(tileId(this.publisher!.stream)) : undefined;
    if (tile) tile.speaking = on;
  }

  private refreshSelf(): void {
    const stream = this.publisher?.stream;
    if (stream) {
      this.grid.get(tileId(stream))?.update({ audioOn: stream.audioActive, videoOn: stream.videoActive });
    }
    this.events.changed();
  }
}

const ids = new WeakMap<Stream, string>();
let nextId = 0;

/** An id for a stream that is there before the server gave it one. */
function tileId(stream: Stream): string {
  let id = ids.get(stream);
  if (!id) {
    id = `stream-${nextId++}`;
    ids.set(stream, id);
  }
  return id;
}

/** What the client and the server said of a connection; the client's part comes first. */
function metaOf(connection: Connection): Meta {
  const [client = ''] = (connection.data ?? '').split('%/%');
  try {
    const data = JSON.parse(client) as Partial<Meta>;
    return { clientData: String(data.clientData ?? 'Guest'), ...(data.screenOf ? { screenOf: data.screenOf } : {}) };
  } catch {
    return { clientData: client || 'Guest' };
  }
}
