# The server alone, for use with a PostgreSQL and a ClickHouse server (see docker-compose.yml). The embedded engine's library is
# not in the image.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /gatehouse ./cmd/gatehouse \
 && install -d -o 10001 -g 10001 -m 0700 /data

FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /gatehouse /usr/local/bin/gatehouse
# A new volume takes the owner and mode of the directory that it covers.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
ENV GATEHOUSE_DATA=/data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["gatehouse"]
CMD ["serve", "--listen", "0.0.0.0:8000"]
