// The smallest OpenVidu application: joins, publishes, subscribes to every stream, and keeps a log of what it was told.
// The test drives it through `window.call`, and through further calls of `newCall` when one page holds several; the
// client library beside it is the npm package as it is.

(() => {
  /** Pixels; measured to take 2 Mbit/s and more in VP8 at 15 frames a second once Chromium has scaled up to 480x270. */
  const NOISE_SIDE = 480;

  const who = (connection) => {
    try {
      return JSON.parse(connection.data.split('%/%')[0]).name;
    } catch {
      return connection.connectionId;
    }
  };

  // Before the client library builds its offer or answer, so that the browser itself puts the wanted codec first, or
  // knows no other.
  let preferred;
  let only = false;
  const prefer = (peer) => {
    if (!preferred) return;
    for (const transceiver of peer.getTransceivers()) {
      if ((transceiver.sender.track ?? transceiver.receiver.track).kind !== 'video') continue;
      const { codecs } = RTCRtpSender.getCapabilities('video');
      const first = codecs.filter((codec) => codec.mimeType.toLowerCase() === preferred);
      if (!first.length) throw new Error(`this browser cannot send ${preferred}`);
      const rest = only ? [] : codecs.filter((codec) => !first.includes(codec));
      transceiver.setCodecPreferences([...first, ...rest]);
    }
  };
  const createOffer = RTCPeerConnection.prototype.createOffer;
  RTCPeerConnection.prototype.createOffer = function (...args) {
    prefer(this);
    return createOffer.apply(this, args);
  };

  /** The same number for the same object, to tell a kept peer connection from a new one. */
  const numbers = new WeakMap();
  let lastNumber = 0;
  const numberOf = (object) => {
    if (!numbers.has(object)) numbers.set(object, (lastNumber += 1));
    return numbers.get(object);
  };

  /** A still picture with a square of noise in it: as hard to compress as a camera's, and as sharp. */
  const lively = (width, height, frameRate) => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d', { alpha: false });
    const gradient = context.createLinearGradient(0, 0, width, height);
    ['#123', '#fed', '#246', '#cba'].forEach((colour, i) => gradient.addColorStop(i / 3, colour));
    context.fillStyle = gradient;
    context.fillRect(0, 0, width, height);
    const square = new ImageData(NOISE_SIDE, NOISE_SIDE);
    const words = new Uint32Array(square.data.buffer);
    let x = 1;
    const paint = () => {
      for (let i = 0; i < words.length; i += 1) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        words[i] = x | 0xff000000;
      }
      context.putImageData(square, (width - NOISE_SIDE) / 2, (height - NOISE_SIDE) / 2);
    };
    paint();
    setInterval(paint, 1000 / frameRate);
    return canvas.captureStream(frameRate).getVideoTracks()[0];
  };

  /** What the browser says about one peer connection, as far as the tests ask. */
  const stats = async (peer) => {
    const report = new Map([...(await peer.getStats())]);
    const codecOf = (rtp) => report.get(rtp.codecId)?.mimeType;
    const pick = (rtp, names) => Object.fromEntries(names.filter((n) => n in rtp).map((n) => [n, rtp[n]]));
    const summary = {
      at: performance.now(), ice: peer.iceConnectionState, peer: numberOf(peer),
      inbound: {}, outbound: {}, layers: {}, ssrcs: { audio: [], video: [] },
    };
    for (const rtp of report.values()) {
      if (rtp.type === 'inbound-rtp') {
        const names = ['packetsReceived', 'packetsLost', 'bytesReceived', 'framesDecoded', 'framesDropped',
          'keyFramesDecoded', 'frameWidth', 'frameHeight', 'totalAudioEnergy', 'nackCount', 'pliCount', 'freezeCount',
          'totalFreezesDuration', 'retransmittedPacketsReceived', 'packetsDiscarded', 'concealedSamples', 'ssrc',
          'trackIdentifier'];
        summary.inbound[rtp.kind] = { codec: codecOf(rtp), ...pick(rtp, names) };
        summary.ssrcs[rtp.kind].push(rtp.ssrc);
      } else if (rtp.type === 'outbound-rtp') {
        const names = ['packetsSent', 'bytesSent', 'framesEncoded', 'frameWidth', 'frameHeight', 'targetBitrate',
          'nackCount', 'pliCount', 'firCount', 'qualityLimitationReason', 'retransmittedPacketsSent', 'ssrc', 'active'];
        summary.outbound[rtp.kind] = { codec: codecOf(rtp), ...pick(rtp, names) };
        if (rtp.rid) summary.layers[rtp.rid] = summary.outbound[rtp.kind];
      } else if (rtp.type === 'remote-inbound-rtp') {
        summary.remote = { ...summary.remote, [rtp.kind]: pick(rtp, ['packetsLost', 'roundTripTime', 'fractionLost']) };
      } else if (rtp.type === 'transport') {
        summary.transport = pick(rtp, ['dtlsState', 'srtpCipher', 'tlsVersion', 'dtlsCipher', 'dtlsRole', 'iceState']);
        const pair = report.get(rtp.selectedCandidatePairId);
        summary.availableOutgoingBitrate = pair?.availableOutgoingBitrate;
        summary.remoteCandidate = report.get(pair?.remoteCandidateId)?.candidateType;
        summary.localCandidate = report.get(pair?.localCandidateId)?.candidateType;
        summary.localPort = report.get(pair?.localCandidateId)?.port;
      }
    }
    return summary;
  };

  const newCall = () => {
    const log = [];
    const subscribers = new Map();
    const videos = document.getElementById('videos');
    const library = new OpenVidu();
    library.enableProdMode();
    let session;
    let publisher;
    let subscribesToAll = true;

    const note = (event, details = {}) => log.push({ event, at: Math.round(performance.now()), ...details });

    const subscribe = (stream) => {
      const of = who(stream.connection);
      const subscriber = session.subscribe(stream, videos);
      subscribers.set(of, subscriber);
      subscriber.on('streamPlaying', () => note('streamPlaying', { of }));
    };

    const join = async (token, name, { advanced, subscribeToAll = true } = {}) => {
      subscribesToAll = subscribeToAll;
      if (advanced) library.setAdvancedConfiguration(advanced);
      session = library.initSession();
      session.on('connectionCreated', ({ connection }) => note('connectionCreated', { of: who(connection) }));
      session.on('connectionDestroyed', ({ connection, reason }) => {
        note('connectionDestroyed', { of: who(connection), reason });
      });
      session.on('streamCreated', ({ stream }) => {
        const { typeOfVideo, hasAudio, hasVideo } = stream;
        note('streamCreated', { of: who(stream.connection), typeOfVideo, hasAudio, hasVideo });
        if (subscribesToAll) subscribe(stream);
      });
      session.on('streamDestroyed', ({ stream, reason }) => {
        note('streamDestroyed', { of: who(stream.connection), reason });
        subscribers.delete(who(stream.connection));
      });
      session.on('streamPropertyChanged', ({ stream, changedProperty, newValue, oldValue, reason }) => {
        note('streamPropertyChanged', { of: who(stream.connection), changedProperty, newValue, oldValue, reason });
      });
      session.on('signal', ({ type, data, from }) => note('signal', { of: from && who(from), type, data }));
      session.on('sessionDisconnected', ({ reason }) => note('sessionDisconnected', { reason }));
      session.on('reconnecting', () => note('reconnecting'));
      session.on('reconnected', () => note('reconnected'));
      session.on('exception', ({ name: exception, message }) => note('exception', { exception, message }));
      call.library = library;
      await session.connect(token, { name });
      return session.connection.connectionId;
    };

    const publish = async (options = {}) => {
      const { resolution = '320x240', frameRate = 15, codec, onlyCodec, camera = true, loopback, ...rest } = options;
      preferred = codec?.toLowerCase();
      only = onlyCodec;
      const [width, height] = resolution.split('x').map(Number);
      const source = camera ? {} : { videoSource: lively(width, height, frameRate) };
      publisher = await library.initPublisherAsync(undefined, {
        resolution,
        frameRate,
        insertMode: 'APPEND',
        mirror: false,
        ...source,
        ...rest,
      });
      publisher.on('accessDenied', () => note('accessDenied'));
      publisher.on('streamDestroyed', ({ reason }) => note('ownStreamDestroyed', { reason }));
      const shown = document.createElement('video');
      Object.assign(shown, { muted: true, autoplay: true });
      videos.append(shown);
      if (loopback) publisher.subscribeToRemote();
      publisher.addVideoElement(shown);
      // What is not played has no volume in the browser's statistics.
      if (loopback) shown.muted = false;
      await session.publish(publisher);
      return publisher.stream.streamId;
    };

    /** Of somebody by name; of a name that is not there, one with an id that is not either. */
    const connectionOf = (of) =>
      [...session.remoteConnections.values()].find((remote) => who(remote) === of) ?? { connectionId: `con_${of}` };

    /** The client library's picture of one stream. */
    const describe = ({ streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo, videoDimensions }) =>
      ({ streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo, videoDimensions });

    const call = {
      join,
      publish,
      log: () => log,
      note,
      /** Calls another function of these; the answer is its value, or its error as the application sees it. */
      attempt: async (method, ...args) => {
        try {
          return { value: await call[method](...args) };
        } catch (error) {
          return typeof error === 'string' ? { error } : { name: error.name, code: error.code, message: error.message };
        }
      },
      /** From now on the browser's offers begin with this codec; with `others` false they hold no other. */
      prefer: (codec, others = true) => {
        preferred = codec?.toLowerCase();
        only = !others;
      },
      mute: (audio, video) => {
        if (audio !== undefined) publisher.publishAudio(audio);
        if (video !== undefined) publisher.publishVideo(video);
      },
      signal: (data, type, names = []) => session.signal({ data, type, to: names.map(connectionOf) }),
      unpublish: () => void session.unpublish(publisher),
      /** Sends a picture of another size instead. */
      replaceVideo: (width, height) => publisher.replaceTrack(lively(width, height, 15)),
      forceDisconnect: (of) => session.forceDisconnect(connectionOf(of)),
      forceUnpublish: (of) => session.forceUnpublish(connectionOf(of).stream),
      subscribe: (of) => subscribe(connectionOf(of).stream),
      unsubscribe: async (of) => {
        await session.unsubscribe(subscribers.get(of));
        subscribers.delete(of);
      },
      /** To the stream that this participant publishes now. */
      resubscribe: (of) => subscribe(connectionOf(of).stream),
      reconnectPublisher: () => publisher.stream.reconnect(),
      reconnectSubscriber: (of) => subscribers.get(of).stream.reconnect(),
      /** Switches the layer of that place (0: the lowest) on or off, as an application may without the library. */
      setLayer: async (place, active) => {
        const sender = publisher.stream.getRTCPeerConnection().getSenders().find(({ track }) => track?.kind === 'video');
        const parameters = sender.getParameters();
        parameters.encodings.at(place).active = active;
        await sender.setParameters(parameters);
      },
      leave: () => session.disconnect(),
      /** Who else is there, and what they publish. */
      others: () => Object.fromEntries([...session.remoteConnections.values()].map((connection) =>
        [who(connection), { id: connection.connectionId, stream: connection.stream && describe(connection.stream) }])),
      capabilities: () => session.capabilities,
      published: () => stats(publisher.stream.getRTCPeerConnection()),
      /** Stats of the subscriptions by the publisher's name. */
      received: async () => {
        const entries = [...subscribers].filter(([, subscriber]) => subscriber.stream.getWebRtcPeer());
        return Object.fromEntries(
          await Promise.all(entries.map(async ([of, { stream }]) => [of, await stats(stream.getRTCPeerConnection())])),
        );
      },
      /** Whether each subscription was offered by the server. */
      descriptions: () =>
        Object.fromEntries([...subscribers].map(([of, { stream }]) => {
          const peer = stream.getRTCPeerConnection();
          return [of, { local: peer.localDescription, remote: peer.remoteDescription }];
        })),
      publishedDescriptions: () => {
        const peer = publisher.stream.getRTCPeerConnection();
        return { local: peer.localDescription, remote: peer.remoteDescription };
      },
    };
    return call;
  };

  window.newCall = newCall;
  window.call = newCall();
})();
