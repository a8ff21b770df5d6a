// The one script: a button within a part of the page sends its form, and the part of the answer that has the
// same id takes its place. Without it, the same form is sent and the page is loaded anew.
"use strict";

document.addEventListener("submit", async (event) => {
  const form = event.target, button = event.submitter;
  const part = button && button.closest("[data-part]");
  if (!part || form.method !== "post") return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, button));
  part.setAttribute("aria-busy", "true");
  try {
    // Without the attribute, formAction is the page's own address.
    const address = button.hasAttribute("formaction") ? button.formAction : form.action;
    const answer = await fetch(address, { method: "POST", body });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh) {
      location.assign(answer.url);
      return;
    }
    part.replaceWith(document.adoptNode(fresh));
    const focus = fresh.querySelector("[aria-invalid], [autofocus], button, a");
    if (focus) focus.focus();
  } catch {
    part.removeAttribute("aria-busy");
    location.reload();
  }
});

// What changes from second to second is asked for again while somebody looks: an element with data-live has the
// address of a page on which it is, too.
setInterval(async () => {
  const part = document.querySelector("[data-live]");
  if (!part || document.hidden) return;
  try {
    const answer = await fetch(part.dataset.live);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
    if (fresh && fresh.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(fresh));
  } catch { /* the next time */ }
}, 2000);
