"use strict";
// A security key speaks in bytes, the service in base64url.
const toBytes = (s) => Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function answer(credential) {
  const r = credential.response;
  const out = { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response: { clientDataJSON: toText(r.clientDataJSON) } };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (r[name]) out.response[name] = toText(r[name]);
  }
  return JSON.stringify(out);
}

for (const form of document.querySelectorAll("form.key")) {
  form.addEventListener("submit", async (event) => {
    if (form.elements.key.value) return;
    event.preventDefault();
    const say = form.querySelector(".error");
    say.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      options.challenge = toBytes(options.challenge);
      for (const list of [options.allowCredentials, options.excludeCredentials]) {
        for (const c of list || []) c.id = toBytes(c.id);
      }
      let credential;
      if (form.dataset.create) {
        options.user.id = toBytes(options.user.id);
        credential = await navigator.credentials.create({ publicKey: options });
      } else {
        credential = await navigator.credentials.get({ publicKey: options });
      }
      form.elements.key.value = answer(credential);
      form.submit();
    } catch (error) {
      say.textContent = "The security key did not answer: " + error.message;
      say.hidden = false;
    }
  });
}
