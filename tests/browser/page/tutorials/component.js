// Stands for openvidu-react and openvidu-vue: the library makes no video element; a component renders anew on every
// change of its state, mounts an element for each stream and hands it to the library, at mounting and at every update.

class Component {
  constructor(root) {
    this.root = root;
    this.state = { session: undefined, publisher: undefined, main: undefined, subscribers: [] };
    this.mounted = new Map();
    window.addEventListener('beforeunload', () => this.leave());
    this.render();
  }

  setState(change, then) {
    Object.assign(this.state, change);
    queueMicrotask(() => {
      this.render();
      then?.();
    });
  }

  render() {
    const { session, publisher, main, subscribers } = this.state;
    if (!session) {
      this.mounted.clear();
      this.root.innerHTML = `<form id="join"><h1>Join a room</h1><input id="name" placeholder="Your name" required>
        <input id="room" placeholder="Room" required><button>Join</button></form>`;
      byId('join').addEventListener('submit', (event) => this.join(event));
      return;
    }
    if (!byId('session')) {
      this.root.innerHTML = `<main id="session"><div class="bar"><h1>${this.room}</h1>
        <button id="switch">Switch camera</button><button id="leave">Leave</button></div>
        <div id="main-video"></div><div class="videos" id="videos"></div></main>`;
      byId('leave').addEventListener('click', () => this.leave());
      byId('switch').addEventListener('click', () => this.switchCamera());
    }
    const wanted = [['main', main], ['own', publisher], ...subscribers.map((one) => [one.stream.streamId, one])];
    for (const key of this.mounted.keys()) {
      if (!wanted.some(([name, manager]) => name === key && manager)) this.unmount(key);
    }
    for (const [key, manager] of wanted) if (manager) this.mount(key, manager);
  }

  mount(key, manager) {
    if (!this.mounted.has(key)) {
      const box = document.createElement('div');
      const video = document.createElement('video');
      video.autoplay = true;
      const name = document.createElement('p');
      name.className = 'name';
      box.append(video, name);
      byId(key === 'main' ? 'main-video' : 'videos').append(box);
      box.addEventListener('click', () => this.setState({ main: this.mounted.get(key).manager }));
      this.mounted.set(key, { box, video, name });
    }
    const element = this.mounted.get(key);
    element.manager = manager;
    manager.addVideoElement(element.video);
    element.name.textContent = JSON.parse(manager.stream.connection.data).clientData;
  }

  unmount(key) {
    this.mounted.get(key).box.remove();
    this.mounted.delete(key);
  }

  join(event) {
    event.preventDefault();
    this.room = byId('room').value;
    const name = byId('name').value;
    this.library = new OpenVidu();
    this.setState({ session: this.library.initSession() }, async () => {
      const { session } = this.state;
      session.on('streamCreated', ({ stream }) => {
        const subscriber = session.subscribe(stream, undefined);
        this.setState({ subscribers: [...this.state.subscribers, subscriber] });
      });
      session.on('streamDestroyed', ({ stream }) => {
        this.setState({ subscribers: this.state.subscribers.filter((one) => one !== stream.streamManager) });
      });
      session.on('exception', (exception) => console.warn(exception));
      await session.connect(await tokenFor(this.room), { clientData: name });
      const publisher = await this.library.initPublisherAsync(undefined, {
        audioSource: undefined,
        videoSource: undefined,
        publishAudio: true,
        publishVideo: true,
        resolution: '640x480',
        frameRate: 30,
        insertMode: 'APPEND',
        mirror: false,
      });
      session.publish(publisher);
      const cameras = await this.cameras();
      const { deviceId } = publisher.stream.getMediaStream().getVideoTracks()[0].getSettings();
      this.setState({ camera: cameras.find((one) => one.deviceId === deviceId), main: publisher, publisher });
    });
  }

  async cameras() {
    return (await this.library.getDevices()).filter(({ kind }) => kind === 'videoinput');
  }

  async switchCamera() {
    const [other] = (await this.cameras()).filter(({ deviceId }) => deviceId !== this.state.camera.deviceId);
    if (!other) return;
    const { session, publisher } = this.state;
    const next = this.library.initPublisher(undefined, {
      videoSource: other.deviceId,
      publishAudio: true,
      publishVideo: true,
      mirror: true,
    });
    await session.unpublish(publisher);
    await session.publish(next);
    this.setState({ camera: other, main: next, publisher: next });
  }

  leave() {
    this.state.session?.disconnect();
    this.library = undefined;
    this.setState({ session: undefined, publisher: undefined, main: undefined, subscribers: [] });
  }
}

new Component(byId('root'));
