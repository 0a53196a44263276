// pion as a server of Millrace's bench: what servers that are built on this library, such as Galene and LiveKit, cannot
// do without. It listens on the port given on the command line, on the loopback interface, and for each line of JSON
// that comes on the one connection it answers with one: `publish` and `subscribe` make a peer connection each and tell
// where it is.
//
// It forwards as pion does it, by a local track that writes each packet to everybody, reports by RTCP, and asks for a
// keyframe when somebody needs one. It remembers nothing for retransmissions and estimates no bandwidth.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v3"
)

const (
	audioPayloadType = 111
	videoPayloadType = 96
	// Between two requests for a keyframe.
	keyframeInterval = 500 * time.Millisecond
	// Longest wait for a candidate.
	patience = 5 * time.Second
)

type client struct {
	Ufrag       string `json:"ufrag"`
	Password    string `json:"password"`
	Fingerprint []int  `json:"fingerprint"`
}

type request struct {
	Publish *struct {
		client
		Audio uint32  `json:"audio"`
		Video *uint32 `json:"video"`
	} `json:"publish"`
	Subscribe *struct {
		client
		Publisher int `json:"publisher"`
	} `json:"subscribe"`
}

type end struct {
	Address  string `json:"address"`
	Ufrag    string `json:"ufrag"`
	Password string `json:"password"`
}

// A line of a client's description.
type line struct {
	kind, mid string
	ssrc      uint32
}

type publisher struct {
	connection *webrtc.PeerConnection
	tracks     []*webrtc.TrackLocalStaticRTP
	video      uint32
	// When a keyframe was last asked for, in Unix nanoseconds.
	asked atomic.Int64
}

type server struct {
	api        *webrtc.API
	publishers []*publisher
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: pion-under-test PORT"))
	}
	api, err := newAPI()
	if err != nil {
		fail(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fail(err)
	}
	connection, err := listener.Accept()
	if err != nil {
		fail(err)
	}
	answers := json.NewEncoder(connection)
	say := func(answer any) {
		if err := answers.Encode(answer); err != nil {
			fail(err)
		}
	}
	say(map[string]any{"ready": map[string]string{"version": version}})
	it := server{api: api}
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		var wanted request
		err := json.Unmarshal(lines.Bytes(), &wanted)
		var at *end
		if err == nil {
			at, err = it.answer(wanted)
		}
		if err != nil {
			say(map[string]string{"refused": err.Error()})
		} else {
			say(map[string]any{"end": at})
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pion-under-test:", err)
	os.Exit(1)
}

// newAPI has two codecs, reports, an ICE-lite agent on the loopback interface, and a socket for each connection.
func newAPI() (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48_000, Channels: 2}
	vp8 := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeVP8, ClockRate: 90_000,
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}
	for _, codec := range []struct {
		parameters webrtc.RTPCodecParameters
		kind       webrtc.RTPCodecType
	}{
		{webrtc.RTPCodecParameters{RTPCodecCapability: opus, PayloadType: audioPayloadType}, webrtc.RTPCodecTypeAudio},
		{webrtc.RTPCodecParameters{RTPCodecCapability: vp8, PayloadType: videoPayloadType}, webrtc.RTPCodecTypeVideo},
	} {
		if err := media.RegisterCodec(codec.parameters, codec.kind); err != nil {
			return nil, err
		}
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.ConfigureRTCPReports(interceptors); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetIPFilter(func(ip net.IP) bool { return ip.Equal(net.IPv4(127, 0, 0, 1)) })
	return webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(settings)), nil
}

func (s *server) answer(wanted request) (*end, error) {
	switch {
	case wanted.Publish != nil:
		lines := []line{{"audio", "0", wanted.Publish.Audio}}
		if wanted.Publish.Video != nil {
			lines = append(lines, line{"video", "1", *wanted.Publish.Video})
		}
		return s.publish(wanted.Publish.client, lines)
	case wanted.Subscribe != nil:
		if wanted.Subscribe.Publisher < 0 || wanted.Subscribe.Publisher >= len(s.publishers) {
			return nil, errors.New("no such publisher")
		}
		return s.subscribe(wanted.Subscribe.client, s.publishers[wanted.Subscribe.Publisher])
	default:
		return nil, errors.New("neither publish nor subscribe")
	}
}

func (s *server) publish(who client, lines []line) (*end, error) {
	connection, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	made := &publisher{connection: connection}
	ways := map[uint32]*webrtc.TrackLocalStaticRTP{}
	for _, line := range lines {
		capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48_000, Channels: 2}
		if line.kind == "video" {
			capability = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90_000}
			made.video = line.ssrc
		}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, line.kind, "bench")
		if err != nil {
			return nil, err
		}
		made.tracks = append(made.tracks, track)
		ways[line.ssrc] = track
	}
	connection.OnTrack(func(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		go drain(receiver.Read)
		forward(remote, ways[uint32(remote.SSRC())])
	})
	offer := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: describe(who, lines, "sendonly")}
	if err := connection.SetRemoteDescription(offer); err != nil {
		return nil, err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return nil, err
	}
	at, err := gathered(connection, answer)
	if err == nil {
		s.publishers = append(s.publishers, made)
	}
	return at, err
}

func (s *server) subscribe(who client, from *publisher) (*end, error) {
	connection, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	for _, track := range from.tracks {
		sender, err := connection.AddTrack(track)
		if err != nil {
			return nil, err
		}
		go from.listen(sender)
	}
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			from.askForKeyframe()
		}
	})
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	at, err := gathered(connection, offer)
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, transceiver := range connection.GetTransceivers() {
		lines = append(lines, line{kind: transceiver.Kind().String(), mid: transceiver.Mid()})
	}
	answer := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: describe(who, lines, "recvonly")}
	return at, connection.SetRemoteDescription(answer)
}

// gathered sets the local description and waits for the one candidate.
func gathered(connection *webrtc.PeerConnection, description webrtc.SessionDescription) (*end, error) {
	complete := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(description); err != nil {
		return nil, err
	}
	select {
	case <-complete:
	case <-time.After(patience):
		return nil, errors.New("no candidates")
	}
	at := &end{}
	for _, text := range strings.Split(connection.LocalDescription().SDP, "\r\n") {
		if value, is := strings.CutPrefix(text, "a=ice-ufrag:"); is {
			at.Ufrag = value
		} else if value, is := strings.CutPrefix(text, "a=ice-pwd:"); is {
			at.Password = value
		} else if value, is := strings.CutPrefix(text, "a=candidate:"); is && at.Address == "" {
			fields := strings.Fields(value)
			at.Address = net.JoinHostPort(fields[4], fields[5])
		}
	}
	if at.Address == "" {
		return nil, errors.New("no candidate")
	}
	return at, nil
}

// forward hands each packet on as it came; the track puts in what differs between subscribers.
func forward(from *webrtc.TrackRemote, to *webrtc.TrackLocalStaticRTP) {
	buffer := make([]byte, 1_500)
	for {
		length, _, err := from.Read(buffer)
		if err != nil {
			return
		}
		if to != nil {
			_, _ = to.Write(buffer[:length])
		}
	}
}

// drain reads reports, of which the interceptors see what they need as they pass.
func drain(read func([]byte) (int, interceptor.Attributes, error)) {
	buffer := make([]byte, 1_500)
	for {
		if _, _, err := read(buffer); err != nil {
			return
		}
	}
}

// listen reads a subscriber's feedback.
func (p *publisher) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.askForKeyframe()
			}
		}
	}
}

func (p *publisher) askForKeyframe() {
	now, last := time.Now().UnixNano(), p.asked.Load()
	if p.video == 0 || now-last < int64(keyframeInterval) || !p.asked.CompareAndSwap(last, now) {
		return
	}
	_ = p.connection.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: p.video}})
}

// describe is the client's SDP. It is always the DTLS client, and is found by its checks.
func describe(who client, lines []line, direction string) string {
	var mids []string
	for _, line := range lines {
		mids = append(mids, line.mid)
	}
	var digest []string
	for _, value := range who.Fingerprint {
		digest = append(digest, strings.ToUpper(hex.EncodeToString([]byte{byte(value)})))
	}
	var sdp strings.Builder
	fmt.Fprintf(&sdp, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE %s\r\n", strings.Join(mids, " "))
	for _, line := range lines {
		payloadType, codec := audioPayloadType, "opus/48000/2"
		if line.kind == "video" {
			payloadType, codec = videoPayloadType, "VP8/90000"
		}
		fmt.Fprintf(&sdp, "m=%s 9 UDP/TLS/RTP/SAVPF %d\r\nc=IN IP4 127.0.0.1\r\na=mid:%s\r\na=%s\r\na=rtcp-mux\r\n"+
			"a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\na=setup:active\r\na=rtpmap:%d %s\r\n",
			line.kind, payloadType, line.mid, direction, who.Ufrag, who.Password, strings.Join(digest, ":"),
			payloadType, codec)
		if line.kind == "video" {
			fmt.Fprintf(&sdp, "a=rtcp-fb:%[1]d nack\r\na=rtcp-fb:%[1]d nack pli\r\n", payloadType)
		}
		if line.ssrc != 0 {
			fmt.Fprintf(&sdp, "a=msid:bench %s\r\na=ssrc:%d cname:bench\r\n", line.kind, line.ssrc)
		}
	}
	return sdp.String()
}

// version is pion's and Go's, given when this is linked.
var version = "unknown"
