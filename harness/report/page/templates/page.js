"use strict";
// Filters: whatever carries data-device, data-op and so on, and none of the chosen names, is hidden. The page and the
// choice are in the address after "#", as in "#speed&dtype=float16", so that a filtered page can be linked. Without this
// script everything is shown, and the address alone chooses the page.
(() => {
  const form = document.getElementById("filters");
  const pages = [...document.querySelectorAll(".page")];
  const links = [...document.querySelectorAll(".pages a")];
  // The page of the address: the one that it names or that holds the place it names; with filters alone it is the speed.
  const shown = () => {
    const parts = location.hash.slice(1).split("&");
    const named = parts.find((part) => !part.includes("=")) || (location.hash.includes("=") ? "speed" : "");
    return document.getElementById(decodeURIComponent(named))?.closest(".page") ?? pages[0];
  };
  // What neither the first screen nor the proofs have is nothing to choose there.
  const filtered = ["speed", "devices", "history"];

  if (form) {
    const output = document.getElementById("shown");
    const choices = [...form.querySelectorAll("select")];
    const selector = choices.map((choice) => `[data-${choice.name}]`).join(",");
    const tagged = [...document.querySelectorAll(selector)].filter((one) => !form.contains(one));
    const places = [...document.querySelectorAll("main nav a")];
    // What holds nothing but hidden parts is hidden too; inner ones are asked first.
    const groups = [...document.querySelectorAll("[data-group]")].reverse().map((group) => ({
      group,
      parts: [...group.querySelectorAll(selector)].filter((part) => !part.matches("th, td")),
    }));

    const matches = (one) => choices.every(({ name, value }) => {
      const shows = one.getAttribute(`data-${name}`);
      return value === "" || shows === null || shows.split(" ").includes(value);
    });
    const counted = (what, selected) => {
      const all = [...shown().querySelectorAll(selected)];
      const visible = all.filter((one) => !one.closest("[hidden]")).length;
      return `${visible} of ${all.length} ${what}`;
    };
    const apply = () => {
      for (const { group } of groups) group.hidden = false;
      for (const one of tagged) one.hidden = !matches(one);
      for (const { group, parts } of groups) {
        group.hidden = !matches(group) || (parts.length > 0 && parts.every((part) => part.closest("[hidden]")));
      }
      for (const link of places) link.hidden = document.getElementById(link.hash.slice(1)).closest("[hidden]") !== null;
      const rows = shown().querySelector("#every-row") ? [counted("rows of the complete table", "#every-row tbody tr")] : [];
      output.textContent =
        `Shown: ${[counted("tables", "table"), counted("pictures", "figure"), ...rows].join(", ")}.`;
    };
    // The address may name what this page does not have: that is said, and nothing is hidden for it.
    const read = () => {
      const parts = location.hash.slice(1).split("&");
      const address = new URLSearchParams(parts.filter((part) => part.includes("=")).join("&"));
      for (const page of pages) page.classList.toggle("shown", page === shown());
      const unknown = [];
      for (const choice of choices) {
        const value = address.get(choice.name) ?? "";
        const known = [...choice.options].some((option) => option.value === value);
        if (!known) unknown.push(value);
        choice.value = known ? value : "";
      }
      apply();
      if (unknown.length) output.textContent = `This page has no ${unknown.join(", ")}. ${output.textContent}`;
    };
    const write = () => {
      const chosen = choices.filter(({ value }) => value).map(({ name, value }) => [name, value]);
      const page = shown();
      history.replaceState(null, "", `#${[page.id, new URLSearchParams(chosen)].filter(String).join("&")}`);
      page.classList.add("shown");
      apply();
    };
    const arrive = () => {
      if (location.hash.includes("=")) {
        read();
      } else {
        // An address without "=" names a page or a place in one, and leaves the filters as they are.
        for (const page of pages) page.classList.remove("shown");
        apply();
      }
      form.hidden = !filtered.includes(shown().id);
    };

    form.addEventListener("change", write);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const choice of choices) choice.value = "";
      write();
    });
    window.addEventListener("hashchange", arrive);
    arrive();
  }

  // What a screen reader is told of the page that is shown, and where it begins.
  const mark = () => {
    for (const link of links) {
      if (link.hash === `#${shown().id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  window.addEventListener("hashchange", mark);
  mark();

  // Paper cannot be unfolded.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
