// nodemailer's pooled transport, sending the same mail again and again. Arguments:
// the server's host and port, connections, mails at once, and "beforehand" to send
// bytes made before; else it composes each mail. Each line of input is for how
// many milliseconds to send, and is answered by how many mails that were and how
// many milliseconds it took.
import { createInterface } from 'node:readline'
import nodemailer from 'nodemailer'

const [host, port, connections, atOnce, mode] = process.argv.slice(2)
const body = 'A line of the body.\r\n'.repeat(40)
const envelope = { from: 'shop@example.com', to: 'ada@example.org' }
const fields = { ...envelope, subject: 'Your order', text: body }
const bytes = { envelope, raw: Buffer.from(`From: shop@example.com\r\nTo: ada@example.org\r\nSubject: Your order\r\n\r\n${body}`) }

const transport = nodemailer.createTransport({
  host, port: Number(port), pool: true, maxConnections: Number(connections), maxMessages: Infinity, secure: false, ignoreTLS: true
})

async function sendFor(milliseconds) {
  const began = performance.now()
  let sent = 0
  const sender = async () => {
    while (performance.now() - began < milliseconds) {
      await transport.sendMail(mode === 'beforehand' ? bytes : fields)
      sent++
    }
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, sender))
  return `${sent} ${performance.now() - began}`
}

console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  console.log(await sendFor(Number(line)))
}
transport.close()
