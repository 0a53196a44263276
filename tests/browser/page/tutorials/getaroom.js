// Stands for openvidu-getaroom: the room is in the address, so that a link is an invitation, and who leaves goes to
// another address at once.

let session;
let publisher;
let room;
const active = { audio: true, video: true };

window.addEventListener('load', () => {
  room = location.hash.slice(1);
  shown(!room, Boolean(room));
  if (room) join();
});

window.addEventListener('beforeunload', () => session?.disconnect());

const layout = () => {
  const count = document.querySelectorAll('#videos video').length;
  document.title = `${count} in the room`;
};

async function join() {
  room ||= Math.random().toString(36).slice(2);
  const library = new OpenVidu();
  session = library.initSession();
  session.on('streamCreated', ({ stream }) => session.subscribe(stream, 'videos').on('videoElementCreated', layout));
  session.on('streamDestroyed', ({ reason }) => {
    byId('videos').dataset.left = reason;
    setTimeout(layout);
  });
  await session.connect(await tokenFor(room));
  history.pushState('', '', `${location.pathname}${location.search}#${room}`);
  shown(false, true);
  byId('link').value = location.href;
  publisher = library.initPublisher('videos', {
    audioSource: undefined,
    videoSource: undefined,
    publishAudio: true,
    publishVideo: true,
    resolution: '640x480',
    frameRate: 30,
    insertMode: 'PREPEND',
    mirror: true,
  });
  publisher.on('videoElementCreated', ({ element }) => {
    layout();
    element.muted = true;
  });
  session.publish(publisher);
}

byId('join').addEventListener('submit', (event) => {
  event.preventDefault();
  join();
});

byId('mute-audio').addEventListener('click', () => publisher.publishAudio((active.audio = !active.audio)));
byId('mute-video').addEventListener('click', () => publisher.publishVideo((active.video = !active.video)));

byId('leave').addEventListener('click', () => {
  session.disconnect();
  location.href = location.origin + location.pathname + location.search;
});
