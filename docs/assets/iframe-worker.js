// A browser starts no worker for a page that was opened from disk. There, the search of the site
// runs in a hidden frame, which has the interface of a worker. See mkdocs.yml, extra.polyfills.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.src = "about:blank";
      this.loaded = new Promise((resolve) => {
        const begin = () => {
          document.body.append(frame);
          this.inside = frame.contentWindow;
          // Inside, postMessage must reach the page and not the frame itself.
          this.inside.postMessage = (data) =>
            this.dispatchEvent(new MessageEvent("message", { data }));
          const script = this.inside.document.createElement("script");
          script.src = url;
          script.onload = resolve;
          this.inside.document.body.append(script);
        };
        document.body ? begin() : addEventListener("DOMContentLoaded", begin);
      });
    }

    postMessage(data) {
      this.loaded.then(() =>
        this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data })),
      );
    }
  };
}
