// The search runs in a worker, and browsers start no worker for a page that they read from a file. On such a page this
// class takes the place of Worker: it runs the script in a hidden frame, whose window stands in for the worker's scope.
// Without a script of this name the theme would fetch one from another host.
"use strict";

if (location.protocol === "file:") {
  const load = (document, url) =>
    new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = url;
      script.onload = loaded;
      script.onerror = () => failed(new Error(`${url} cannot be loaded`));
      document.body.append(script);
    });

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const scope = frame.contentWindow;
      scope.document.open();
      scope.document.write("<body></body>");
      scope.document.close();
      scope.postMessage = (data) => this.emit(structuredClone(data));
      scope.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => load(scope.document, each)), Promise.resolve());
      this.frame = frame;
      this.ready = load(scope.document, url);
      this.ready.catch((error) => this.dispatchEvent(new ErrorEvent("error", { error })));
    }

    emit(data) {
      const message = new MessageEvent("message", { data });
      this.dispatchEvent(message);
      if (this.onmessage) this.onmessage(message);
    }

    postMessage(data) {
      const scope = this.frame.contentWindow;
      this.ready.then(() => scope.dispatchEvent(new scope.MessageEvent("message", { data: structuredClone(data) })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
