// What the page says of its state and of what went wrong, in plain words.

export const STATES = {
  idle: "Ready",
  opening: "Connecting",
  listening: "Listening",
  preparing: "About to speak",
  speaking: "Speaking",
  lost: "Not connected",
  ended: "Ended",
};

const MICROPHONE = {
  InvalidStateError: "No loudspeaker could be opened. Plug one in or choose one, then start again.",
  NotAllowedError:
    "The browser was not allowed to use the microphone. Allow it beside the page's address, then start again.",
  NotFoundError: "No microphone was found. Plug one in, then start again.",
  NotReadableError: "The microphone is in use by another program, or the system refuses it.",
  OverconstrainedError:
    "The microphone that was chosen is not there any more. Choose another one, then start again.",
  NotSupportedError:
    "This browser gives this page no microphone. Open it over https, or on the server's machine.",
};

export const microphone = (error) =>
  MICROPHONE[error.name] ??
  `The microphone or the loudspeaker could not be opened: ${error.message}`;

export const unplugged =
  "The microphone went away. The model hears silence until you choose another one.";
export const slow = "The connection is too slow for sound.";
export const again = (reason, seconds) => `${reason} Trying again in ${seconds} s.`;
export const full = "The server is full.";
export const lost = "The connection was lost.";
export const closing = "The server is closing.";
export const absent = "The server does not answer.";
export const fresh = "Connected again. The model has forgotten what was said before.";
export const resumed = "Connected again. The conversation goes on.";
export const token = "The server asks for its token. Enter it under Settings, then start again.";
export const gaveUp = "The server did not come back. Start again when it is there.";
export const ended = (reason) =>
  `The server ended the conversation: ${reason || "no reason given"}.`;
export const refused = (message) => `The server refuses: ${message}`;
