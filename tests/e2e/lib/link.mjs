// A switch in the websocket connections of one browser context: pages stay online, their sockets do not.

/** Routes all sockets of the context through a switch. Call it before the first page opens. */
export async function switchable(context) {
  const sockets = new Map();
  let open = true;
  await context.routeWebSocket(/\/ws\//, (socket) => {
    if (!open) return void socket.close({ code: 1012 });
    const upstream = socket.connectToServer();
    sockets.set(socket, upstream);
    socket.onClose((code, reason) => {
      sockets.delete(socket);
      void upstream.close({ code: code ?? 1000, reason });
    });
    upstream.onClose((code, reason) => {
      sockets.delete(socket);
      void socket.close({ code: code ?? 1011, reason });
    });
    return undefined;
  });
  return {
    /** Closes the newest socket, or all, and refuses new ones. */
    async cut(which = "all") {
      open = false;
      const all = [...sockets];
      for (const [socket, upstream] of which === "newest" ? all.slice(-1) : all) {
        sockets.delete(socket);
        await upstream.close({ code: 1000 });
        await socket.close({ code: 1012 });
      }
    },
    restore() {
      open = true;
    },
  };
}
