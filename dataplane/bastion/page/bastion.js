// The terminal of a bastion: asks for a session, then carries bytes between xterm.js and a WebSocket. Binary
// messages are the terminal's; text messages are JSON: the login and sizes from here, notices from there.
const form = document.getElementById('login');
const status = document.getElementById('status');
const place = document.getElementById('terminal');

function say(text, error = false) {
  status.textContent = text;
  status.className = error ? 'error' : '';
}

// tokens asks the bastion for a session; it throws with the bastion's own message.
async function tokens(fields) {
  const body = new URLSearchParams({ protocol: 'ssh', workloadHostPort: fields.port, aztoken: fields.aztoken });
  if (/^\d+\.\d+\.\d+\.\d+$/.test(fields.target)) body.set('hostname', fields.target);
  else body.set('resourceId', fields.target);
  const answer = await fetch('/api/tokens', { method: 'POST', body });
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.message || answer.statusText);
  return json;
}

function connect(session, fields) {
  const terminal = new Terminal({ cursorBlink: true });
  const fit = new FitAddon.FitAddon();
  terminal.loadAddon(fit);
  place.hidden = false;
  form.hidden = true;
  terminal.open(place);
  fit.fit();
  const socket = new WebSocket(`wss://${location.host}/webssh/${session.websocketToken}`);
  socket.binaryType = 'arraybuffer';
  const size = () => ({ cols: terminal.cols, rows: terminal.rows });
  const encoder = new TextEncoder();
  let failed = false;
  socket.onopen = () => {
    const { user, password, privateKey, passphrase } = fields;
    socket.send(JSON.stringify({ user, password, privateKey, passphrase, ...size() }));
    terminal.focus();
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) return terminal.write(new Uint8Array(data));
    const notice = JSON.parse(data);
    failed = failed || Boolean(notice.error);
    say(notice.error || notice.info, Boolean(notice.error));
  };
  socket.onclose = () => {
    if (!failed) say('The session has ended. Reload the page for another.');
    fetch(`/api/tokens/${session.authToken}`, { method: 'DELETE' });
  };
  terminal.onData((text) => socket.readyState === WebSocket.OPEN && socket.send(encoder.encode(text)));
  terminal.onResize(() => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(size())));
  window.addEventListener('resize', () => fit.fit());
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(form));
  say('Connecting…');
  try {
    connect(await tokens(fields), fields);
    form.reset();
  } catch (error) {
    say(error.message, true);
  }
});
