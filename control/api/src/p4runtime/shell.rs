//! The server on the network: gRPC, sockets and time around [`Server`], and no decisions.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use gantry_p4_proto::Message as _;
use gantry_p4_proto::runtime::p4_runtime_server::{P4Runtime, P4RuntimeServer};
use gantry_p4_proto::runtime::{
    CapabilitiesRequest, CapabilitiesResponse, GetForwardingPipelineConfigRequest, GetForwardingPipelineConfigResponse,
    ReadRequest, ReadResponse, SetForwardingPipelineConfigRequest, SetForwardingPipelineConfigResponse,
    StreamMessageRequest, StreamMessageResponse, WriteRequest, WriteResponse,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::Connected;
use tonic::{Code as GrpcCode, Request, Response, Status, Streaming};

use super::arbitration::{Output, StreamId};
use super::calls::CallId;
use super::plane::Plane;
use super::read::{Portion, Reading};
use super::server::Server;
use super::status::{Failure, Refusal};

/// Bytes of one message from a client.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Reads that are answered at the same time: each notes what it found.
const READS_MAX: usize = 8;
/// A Read is given up whose client takes no more for so long.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Connections are closed whose clients do not answer to pings.
const KEEPALIVE: Duration = Duration::from_secs(20);

struct Shared<P> {
    server: Mutex<Server<P>>,
    wakers: Mutex<HashMap<StreamId, Arc<Notify>>>,
    timer: Notify,
    /// Something may be over that calls and Reads wait for.
    over: Notify,
    /// The plane may have something to be carried out.
    wishes: Notify,
    reads: Arc<Semaphore>,
    started: (Instant, u64),
}

/// The way to a server that is on the network.
pub struct Handle<P>(Arc<Shared<P>>);

impl<P> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Plane + Send + 'static> Handle<P> {
    /// Around that server.
    #[must_use]
    pub fn new(server: Server<P>) -> Self {
        let epoch_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let started = (Instant::now(), u64::try_from(epoch_ns).unwrap_or(u64::MAX));
        Self(Arc::new(Shared {
            server: Mutex::new(server),
            wakers: Mutex::default(),
            timer: Notify::new(),
            over: Notify::new(),
            wishes: Notify::new(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            started,
        }))
    }

    /// Nanoseconds since 1970 that never go back.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        let (at, epoch_ns) = self.0.started;
        epoch_ns.saturating_add(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Does something with the server: what the data plane says goes in this way. Clients then get what it has for them.
    pub fn with<R>(&self, act: impl FnOnce(&mut Server<P>) -> R) -> R {
        let result = self.quietly(act);
        self.0.wishes.notify_one();
        result
    }

    /// The same for whoever carries out what the plane wants.
    pub fn quietly<R>(&self, act: impl FnOnce(&mut Server<P>) -> R) -> R {
        let mut server = self.server();
        let result = act(&mut server);
        server.progress();
        let over = server.take_progress();
        self.wake(server);
        self.0.timer.notify_one();
        if over {
            self.0.over.notify_waiters();
        }
        result
    }

    /// Waits until somebody has done something with the server, so that its plane may have something to be carried out.
    pub async fn stirred(&self) {
        self.0.wishes.notified().await;
    }

    fn wake(&self, mut server: MutexGuard<'_, Server<P>>) {
        let ready = server.take_ready();
        drop(server);
        if !ready.is_empty() {
            let wakers = self.0.wakers.lock().expect("nobody panics with it");
            ready.iter().filter_map(|id| wakers.get(id)).for_each(|waker| waker.notify_one());
        }
    }

    fn server(&self) -> MutexGuard<'_, Server<P>> {
        self.0.server.lock().expect("a panic in the server is a panic of the process")
    }

    /// A call, until the data plane has said what became of it. A client that goes away takes a call with it that has not begun.
    async fn call(&self, submit: impl FnOnce(&mut Server<P>) -> CallId) -> Result<(), Failure> {
        let call = Waiting(self, self.with(submit));
        loop {
            let over = self.0.over.notified();
            if let Some(outcome) = self.server().take_outcome(call.1) {
                return outcome;
            }
            over.await;
        }
    }

    /// The next portion of a Read that is there.
    async fn portion(&self, reading: &mut Reading) -> Portion {
        loop {
            let over = self.0.over.notified();
            match self.with(|server| server.read_on(reading)) {
                Portion::Waits => over.await,
                portion => return portion,
            }
        }
    }

    /// Lists of digests are sent when their time has come.
    async fn keep_time(self) {
        loop {
            let (now_ns, due_ns) = (self.now_ns(), self.poll());
            let wait = due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)));
            tokio::select! {
                () = self.0.timer.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {}
            }
        }
    }

    fn poll(&self) -> Option<u64> {
        let now_ns = self.now_ns();
        let mut server = self.server();
        let due_ns = server.poll(now_ns);
        self.wake(server);
        due_ns
    }
}

/// A call whose client waits.
struct Waiting<'a, P: Plane + Send + 'static>(&'a Handle<P>, CallId);

impl<P: Plane + Send + 'static> Drop for Waiting<'_, P> {
    fn drop(&mut self) {
        self.0.server().forget_call(self.1);
    }
}

/// Serves P4Runtime on a listener until `until` is done.
///
/// # Errors
/// If the listener fails.
pub async fn serve<P: Plane + Send + 'static>(
    handle: Handle<P>,
    listener: TcpListener,
    until: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpListenerStream::new(listener).map(|socket| {
        socket.inspect(|socket| {
            let _ = socket.set_nodelay(true);
        })
    });
    serve_incoming(handle, incoming, until).await
}

/// The same on a Unix socket.
///
/// # Errors
/// If the listener fails.
pub async fn serve_unix<P: Plane + Send + 'static>(
    handle: Handle<P>,
    listener: UnixListener,
    until: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    serve_incoming(handle, UnixListenerStream::new(listener), until).await
}

async fn serve_incoming<P, I>(
    handle: Handle<P>,
    incoming: impl Stream<Item = std::io::Result<I>>,
    until: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error>
where
    P: Plane + Send + 'static,
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let service = P4RuntimeServer::new(Service(handle.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let time = tokio::spawn(handle.keep_time());
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, until)
        .await;
    time.abort();
    served
}

fn refused(refusal: &Refusal) -> Status {
    Status::new(GrpcCode::from_i32(refusal.code as i32), &refusal.message)
}

fn failed(failure: &Failure) -> Status {
    if failure.errors.is_empty() {
        return refused(&failure.refusal);
    }
    let (code, message) = (GrpcCode::from_i32(failure.refusal.code as i32), &failure.refusal.message);
    Status::with_details(code, message, failure.status().encode_to_vec().into())
}

struct Service<P>(Handle<P>);

impl<P: Plane + Send + 'static> Handle<P> {
    /// A client's stream, until either side ends it. What the client does not read stays with the server, which has bounds.
    async fn carry(
        self,
        id: StreamId,
        waker: Arc<Notify>,
        mut incoming: Streaming<StreamMessageRequest>,
        outgoing: mpsc::Sender<Result<StreamMessageResponse, Status>>,
    ) {
        'open: loop {
            tokio::select! {
                request = incoming.next() => match request {
                    Some(Ok(request)) => self.with(|server| server.handle_stream(id, request)),
                    Some(Err(_)) | None => break,
                },
                () = outgoing.closed() => break,
                () = waker.notified() => {}
            }
            loop {
                let output = self.server().poll_stream(id);
                let (message, last) = match output {
                    None => break,
                    Some(Output::Message(message)) => (Ok(*message), false),
                    Some(Output::End(refusal)) => (Err(refused(&refusal)), true),
                };
                if outgoing.send(message).await.is_err() || last {
                    break 'open;
                }
            }
        }
        self.0.wakers.lock().expect("nobody panics with it").remove(&id);
        self.with(|server| server.close_stream(id));
    }
}

#[tonic::async_trait]
impl<P: Plane + Send + 'static> P4Runtime for Service<P> {
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;
    type StreamChannelStream = ReceiverStream<Result<StreamMessageResponse, Status>>;

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.0.call(move |server| server.submit_write(request)).await;
        outcome.map(|()| Response::new(WriteResponse {})).map_err(|failure| failed(&failure))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let reads = self.0.0.reads.clone();
        let turn = reads.acquire_owned().await.map_err(|_| Status::unavailable("the server ends"))?;
        let request = request.into_inner();
        let reading = self.0.with(|server| server.read(&request));
        let mut reading = reading.map_err(|refusal| refused(&refusal))?;
        let (send, receive) = mpsc::channel(1);
        let handle = self.0.clone();
        tokio::spawn(async move {
            let _turn = turn;
            loop {
                let portion = tokio::select! {
                    portion = handle.portion(&mut reading) => portion,
                    () = send.closed() => break,
                };
                let message = match portion {
                    Portion::Message(message) => Ok(message),
                    Portion::Failed(failure) => Err(failed(&failure)),
                    Portion::Over | Portion::Waits => break,
                };
                if send.send_timeout(message, READ_PATIENCE).await.is_err() {
                    break;
                }
            }
            handle.with(|server| server.abandon(&reading));
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<SetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.0.call(move |server| server.submit_config(request)).await;
        outcome.map(|()| Response::new(SetForwardingPipelineConfigResponse {})).map_err(|failure| failed(&failure))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<GetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        let config = self.0.with(|server| server.config(&request));
        config.map(Response::new).map_err(|refusal| refused(&refusal))
    }

    async fn stream_channel(
        &self,
        request: Request<Streaming<StreamMessageRequest>>,
    ) -> Result<Response<Self::StreamChannelStream>, Status> {
        let id = self.0.with(Server::open_stream).map_err(|refusal| refused(&refusal))?;
        let waker = Arc::new(Notify::new());
        self.0.0.wakers.lock().expect("nobody panics with it").insert(id, waker.clone());
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(self.0.clone().carry(id, waker, request.into_inner(), send));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn capabilities(
        &self,
        request: Request<CapabilitiesRequest>,
    ) -> Result<Response<CapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let capabilities = self.0.with(|server| server.capabilities(&request));
        capabilities.map(Response::new).map_err(|refusal| refused(&refusal))
    }
}
