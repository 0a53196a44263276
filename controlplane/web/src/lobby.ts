/** Before the call: the own picture, the name, and the room. */

import { byId, hue, initials } from './dom';
import { mediaTrouble } from './errors';
import { dress } from './icons';

export interface Choice {
  name: string;
  room: string;
  audio: MediaStreamTrack | undefined;
  video: MediaStreamTrack | undefined;
  audioOn: boolean;
  videoOn: boolean;
}

const NAME_KEY = 'millrace.name';
const ROOM_KEY = 'millrace.room';
const CAMERA: MediaTrackConstraints = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

export class Lobby {
  private readonly name = byId<HTMLInputElement>('name');
  private readonly room = byId<HTMLInputElement>('room');
  private readonly mic = byId<HTMLButtonElement>('preview-mic');
  private readonly cam = byId<HTMLButtonElement>('preview-cam');
  private stream = new MediaStream();
  private meter: AudioContext | undefined;
  private audioOn = true;
  private videoOn = true;
  private hint = '';

  constructor(join: (choice: Choice) => void) {
    this.name.value = localStorage.getItem(NAME_KEY) ?? '';
    this.room.value = new URLSearchParams(location.search).get('room') ?? localStorage.getItem(ROOM_KEY) ?? '';
    this.mic.addEventListener('click', () => {
      this.audioOn = !this.audioOn;
      this.draw();
    });
    this.cam.addEventListener('click', () => {
      this.videoOn = !this.videoOn;
      this.draw();
    });
    this.name.addEventListener('input', () => this.draw());
    byId<HTMLFormElement>('join-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.valid()) join(this.take());
    });
  }

  /** Shows the lobby and asks for the devices. */
  async open(): Promise<void> {
    byId('lobby').hidden = false;
    (this.name.value ? (this.room.value ? byId('join') : this.room) : this.name).focus();
    this.hint = 'Asking for your camera and microphone…';
    this.draw();
    try {
      this.stream = await devices();
      this.hint = '';
    } catch (error) {
      const trouble = mediaTrouble(error);
      this.stream = new MediaStream();
      this.hint = `${trouble.title}. ${trouble.remedy}`;
    }
    byId<HTMLVideoElement>('preview-video').srcObject = this.stream;
    this.measure();
    this.draw();
  }

  close(): void {
    byId('lobby').hidden = true;
    void this.meter?.close();
    this.meter = undefined;
    byId<HTMLVideoElement>('preview-video').srcObject = null;
  }

  private valid(): boolean {
    const room = this.room.value.trim();
    this.name.setCustomValidity(this.name.value.trim() ? '' : 'Enter a name that others will see.');
    this.room.setCustomValidity(/^[A-Za-z0-9_-]+$/.test(room) ? '' : 'Enter a room: letters, digits, - and _ only.');
    return this.name.reportValidity() && this.room.reportValidity();
  }

  private take(): Choice {
    const name = this.name.value.trim();
    const room = this.room.value.trim();
    localStorage.setItem(NAME_KEY, name);
    localStorage.setItem(ROOM_KEY, room);
    const live = (tracks: MediaStreamTrack[]) => tracks.find((track) => track.readyState === 'live');
    return {
      name,
      room,
      audio: live(this.stream.getAudioTracks()),
      video: live(this.stream.getVideoTracks()),
      audioOn: this.audioOn,
      videoOn: this.videoOn,
    };
  }

  private draw(): void {
    const audio = this.stream.getAudioTracks()[0];
    const video = this.stream.getVideoTracks()[0];
    if (audio) audio.enabled = this.audioOn;
    if (video) video.enabled = this.videoOn;
    const audioOn = Boolean(audio) && this.audioOn;
    const videoOn = Boolean(video) && this.videoOn;
    this.mic.disabled = !audio;
    this.cam.disabled = !video;
    dress(this.mic, audioOn ? 'mic' : 'mic-off', audio ? (audioOn ? 'Mute' : 'Unmute') : 'No microphone');
    dress(this.cam, videoOn ? 'cam' : 'cam-off', video ? `Turn camera ${videoOn ? 'off' : 'on'}` : 'No camera');
    this.mic.setAttribute('aria-pressed', String(audioOn));
    this.cam.setAttribute('aria-pressed', String(videoOn));
    byId('preview').classList.toggle('no-picture', !videoOn);
    byId('preview-text').textContent = this.hint || (videoOn ? '' : 'Your camera is off');
    const avatar = byId('preview-avatar');
    avatar.hidden = Boolean(this.hint);
    avatar.textContent = initials(this.name.value);
    avatar.style.setProperty('--hue', String(hue(this.name.value.trim())));
  }

  /** A bar that moves with the voice, so that a dead microphone is noticed before the call. */
  private measure(): void {
    const bar = byId('preview-level');
    bar.style.transform = 'scaleX(0)';
    if (!this.stream.getAudioTracks().length) return;
    const context = new AudioContext();
    this.meter = context;
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(this.stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const step = () => {
      if (context.state === 'closed') return;
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      bar.style.transform = `scaleX(${Math.min(1, Math.sqrt(power) * 5)})`;
      requestAnimationFrame(step);
    };
    step();
  }
}

/** Both devices, or the one that there is. */
async function devices(): Promise<MediaStream> {
  const ask = (wanted: MediaStreamConstraints) => navigator.mediaDevices.getUserMedia(wanted);
  try {
    return await ask({ audio: true, video: CAMERA });
  } catch (error) {
    const name = (error as { name?: string } | null)?.name;
    if (name !== 'NotFoundError' && name !== 'NotReadableError') throw error;
    return ask({ audio: true }).catch(() => ask({ video: CAMERA })).catch(() => Promise.reject(error));
  }
}
