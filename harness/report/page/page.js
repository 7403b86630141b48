"use strict";
// Filters: whatever carries data-device, data-op and so on, and none of the chosen names, is hidden. The choice is
// in the address after "#", so that a filtered page can be linked. Without this script everything is shown.
(() => {
  const form = document.getElementById("filters");
  if (form) {
    const output = document.getElementById("shown");
    const choices = [...form.querySelectorAll("select")];
    const selector = choices.map((choice) => `[data-${choice.name}]`).join(",");
    const tagged = [...document.querySelectorAll(selector)].filter((one) => !form.contains(one));
    const links = [...document.querySelectorAll("nav a")];
    // What holds nothing but hidden parts is hidden too; inner ones are asked first.
    const groups = [...document.querySelectorAll("[data-group]")].reverse().map((group) => ({
      group,
      parts: [...group.querySelectorAll(selector)].filter((part) => !part.matches("th, td")),
    }));

    const matches = (one) => choices.every(({ name, value }) => {
      const shows = one.getAttribute(`data-${name}`);
      return value === "" || shows === null || shows.split(" ").includes(value);
    });
    const counted = (what, elements) => {
      const visible = elements.filter((one) => !one.closest("[hidden]")).length;
      return `${visible} of ${elements.length} ${what}`;
    };
    const apply = () => {
      for (const one of tagged) one.hidden = !matches(one);
      for (const { group, parts } of groups) {
        group.hidden = !matches(group) || (parts.length > 0 && parts.every((part) => part.closest("[hidden]")));
      }
      for (const link of links) link.hidden = document.getElementById(link.hash.slice(1)).closest("[hidden]") !== null;
      const all = (what) => [...document.querySelectorAll(what)];
      output.textContent = `Shown: ${counted("tables", all("table"))}, ${counted("pictures", all("figure"))}, ` +
        `${counted("rows of the complete table", all("#every-row tbody tr"))}.`;
    };
    // The address may name what this page does not have: that is said, and nothing is hidden for it.
    const read = () => {
      const address = new URLSearchParams(location.hash.slice(1));
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
      const address = choices.filter(({ value }) => value).map(({ name, value }) => [name, value]);
      history.replaceState(null, "", `#${new URLSearchParams(address)}`);
      apply();
    };

    form.addEventListener("change", write);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const choice of choices) choice.value = "";
      write();
    });
    // An address without "=" names a place in the page, and leaves the filters as they are.
    window.addEventListener("hashchange", () => {
      if (location.hash.includes("=")) read();
    });
    form.hidden = false;
    read();
  }

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
