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
    const answer = await fetch(button.formAction || form.action, { method: "POST", body });
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
